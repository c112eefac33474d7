use arbitrary::{Arbitrary, Result, Unstructured};

use tidegate_runtime::config::units;
use tidegate_runtime::jetstream;

/// What a server says beside a message, and the units of a configuration: read as it was written, or refused.
pub fn wire(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        units(text);
        let _ = jetstream::position(text);
    }
    // Bytes that do not suffice are as good as none.
    let _ = position(&mut Unstructured::new(bytes));
}

fn units(text: &str) {
    match units::duration(text) {
        Ok(duration) => assert_eq!(units::duration(&units::show_duration(&duration)), Ok(duration), "{text:?}"),
        Err(wrong) => assert!(!wrong.to_string().contains(['\n', '\r']), "{wrong}"),
    }
    match units::size(text) {
        Ok(size) => assert_eq!(units::size(&units::show_size(&size)), Ok(size), "{text:?}"),
        Err(wrong) => assert!(!wrong.to_string().contains(['\n', '\r']), "{wrong}"),
    }
}

/// Both forms of the subject that a delivery is settled on.
fn position(u: &mut Unstructured<'_>) -> Result<()> {
    let (attempt, sequence, ms) = (u32::arbitrary(u)?, u64::arbitrary(u)?, u64::from(u32::arbitrary(u)?));
    let token = |u: &mut Unstructured<'_>| Ok(format!("T{}", String::arbitrary(u)?.replace('.', "")));
    let (stream, consumer) = (token(u)?, token(u)?);
    let rest =
        format!("{stream}.{consumer}.{attempt}.{sequence}.{}.{}000000.{}", u64::arbitrary(u)?, ms, u8::arbitrary(u)?);
    let place = Some((attempt, sequence, ms));
    assert_eq!(jetstream::position(&format!("$JS.ACK.{rest}")), place, "{rest}");
    let (domain, account) = (token(u)?, token(u)?);
    let long = format!("$JS.ACK.{domain}.{account}.{rest}");
    assert_eq!(jetstream::position(&long), place, "{long}");
    assert_eq!(jetstream::position(&format!("{long}.more")), place, "{long}");
    Ok(())
}
