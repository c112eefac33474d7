use std::cell::RefCell;
use std::fmt::Write as _;

use arbitrary::{Arbitrary, Result, Unstructured};

use super::lab::FuzzLab;

/// How deep components are within one another, and how many parts each has at most.
const DEPTH: usize = 4;
const PARTS: usize = 6;

thread_local! {
    static LAB: RefCell<FuzzLab> = RefCell::new(FuzzLab::new());
}

/// Any bytes as modules and components in one another, instantiated here and there: what is counted before anything is
/// compiled is what the compiler finds.
pub fn declared(bytes: &[u8]) {
    let mut text = String::from("(component ");
    // Bytes that do not suffice leave out the rest.
    let _ = component(&mut text, &mut Unstructured::new(bytes), &mut Vec::new());
    text.push_str(&")".repeat(text.matches('(').count() - text.matches(')').count()));
    // Some of it is no component, as where what is instantiated lacks an import.
    let Ok(component) = wat::parse_str(&text) else { return };
    let Some((counted, memories)) = LAB.with_borrow(|lab| lab.host.counted(&component)) else { return };
    assert_eq!(counted.memories, u64::from(memories), "{text}");
}

/// How many modules and components there are to be instantiated, in each component that this one is in.
fn component(text: &mut String, u: &mut Unstructured<'_>, within: &mut Vec<(usize, usize)>) -> Result<()> {
    within.push((0, 0));
    let depth = within.len() - 1;
    for _ in 0..u.int_in_range(0..=PARTS)? {
        let (modules, components) = within[depth];
        match u8::arbitrary(u)? % 6 {
            0 => {
                let (memories, globals) = (u.int_in_range(0..=3)?, u.int_in_range(0..=3)?);
                let memories = "(memory 1)".repeat(memories);
                let _ = write!(text, "(core module {memories} {})", "(global i32 (i32.const 0))".repeat(globals));
                within[depth].0 += 1;
            }
            1 if modules > 0 => {
                let _ = write!(text, "(core instance (instantiate {}))", u.int_in_range(0..=modules - 1)?);
            }
            2 if depth < DEPTH => {
                text.push_str("(component ");
                component(text, u, within)?;
                text.push(')');
                within[depth].1 += 1;
            }
            3 if components > 0 => {
                let _ = write!(text, "(instance (instantiate {}))", u.int_in_range(0..=components - 1)?);
            }
            4 if depth > 0 => {
                let out = u.int_in_range(1..=depth)?;
                let known = within[depth - out].0;
                if known > 0 {
                    let index = u.int_in_range(0..=known - 1)?;
                    let _ = write!(text, "(alias outer {out} {index} (core module))");
                    within[depth].0 += 1;
                }
            }
            5 if modules > 0 => {
                let name = text.len();
                let _ = write!(text, "(export \"m{name}\" (core module {}))", u.int_in_range(0..=modules - 1)?);
                within[depth].0 += 1;
            }
            _ => {}
        }
    }
    within.pop();
    Ok(())
}
