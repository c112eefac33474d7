//! Signatures of plugins: what is signed, how it is written down, and whose signatures are taken. Pure.
//!
//! A signature stands beside its file, as text of three lines. Signed is a message of two lines, the first of which is
//! said nowhere else, so that no signature of anything else can be passed off as one of a plugin.

use std::fmt;

use data_encoding::BASE64;
use nkeys::{KeyPair, KeyPairType};

use crate::digest::Digest;

/// The first line of what is signed, and of the file with the signature. It names the kind and its version.
const FIRST_LINE: &str = "tidegate-plugin-signature-v1";
/// Bytes of a signature.
const LENGTH: usize = 64;
/// Bytes of the largest file with a signature; one that this program writes has fewer than 256.
pub const MOST: usize = 1 << 10;

/// The key that signs, which is a user's nkey (`SU...`).
pub struct Signer(KeyPair);

/// A signature of a plugin, and whose it says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    key: String,
    bytes: Vec<u8>,
}

/// Why a signature does not let a plugin in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It has none.
    #[error("it is not signed, and plugins.trusted says who may sign; sign it with `tidegate plugin sign`")]
    Unsigned,
    /// There is something else in its place, or half of it.
    #[error("its signature {0}; sign it again with `tidegate plugin sign`")]
    Malformed(String),
    /// Somebody else has signed it.
    #[error("it is signed by {0}, which plugins.trusted does not name; let one of those sign it, or add that key")]
    Untrusted(String),
    /// It was signed by somebody who may, and it was something else.
    #[error("its signature by {0} is of other content; sign this file with `tidegate plugin sign`, or put that back")]
    OtherContent(String),
}

/// What is signed.
fn message(digest: &Digest) -> Vec<u8> {
    format!("{FIRST_LINE}\nsha256:{}\n", digest.whole()).into_bytes()
}

/// Checks that this is the public key of a user, as `U...`.
///
/// # Errors
/// What is wrong with it, and what to do.
pub fn public_key(text: &str) -> Result<(), (&'static str, &'static str)> {
    if text.starts_with('S') {
        return Err(("is a seed, which is a secret", "write the public key that belongs to it, which begins with U"));
    }
    let remedy = "write the public nkey of a user, which begins with U; `tidegate plugin sign` prints whose it signs";
    let key = KeyPair::from_public_key(text).map_err(|_| ("is not a public nkey", remedy))?;
    match key.key_pair_type() {
        KeyPairType::User => Ok(()),
        _ => Err(("is not the nkey of a user", remedy)),
    }
}

impl Signer {
    /// Of the text of a file with a seed.
    ///
    /// # Errors
    /// If it is no user's seed. What it is instead is not repeated.
    pub fn of_seed(text: &str) -> Result<Self, &'static str> {
        let key = KeyPair::from_seed(text.trim()).map_err(|_| "it does not hold a seed")?;
        match key.key_pair_type() {
            KeyPairType::User => Ok(Self(key)),
            _ => Err("its seed is not a user's, which begins with SU"),
        }
    }

    /// Whose key it is: `U...`.
    pub fn public_key(&self) -> String {
        self.0.public_key()
    }

    /// Signs the content with this digest.
    ///
    /// # Errors
    /// If the key cannot sign.
    pub fn sign(&self, digest: &Digest) -> Result<Signature, String> {
        let bytes = self.0.sign(&message(digest)).map_err(|error| error.to_string())?;
        Ok(Signature { key: self.public_key(), bytes })
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.public_key()).finish()
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FIRST_LINE}\nkey: {}\nsignature: {}\n", self.key, BASE64.encode(&self.bytes))
    }
}

impl Signature {
    /// Reads what [`Signature`] shows.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignatureError> {
        let wrong = |why: &str| SignatureError::Malformed(why.to_owned());
        if bytes.len() > MOST {
            return Err(wrong("is larger than a signature is"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("is not text"))?;
        let lines: Vec<&str> = text.lines().collect();
        let [first, key, signature] = lines.as_slice() else {
            return Err(wrong("does not have the three lines that one has"));
        };
        if *first != FIRST_LINE {
            return Err(wrong("does not begin as one of this version does"));
        }
        let key = key.strip_prefix("key: ").ok_or_else(|| wrong("does not say whose it is"))?;
        public_key(key).map_err(|_| wrong("is by what is no user's public nkey"))?;
        let digits = signature.strip_prefix("signature: ").ok_or_else(|| wrong("has no signature in it"))?;
        let bytes = BASE64.decode(digits.as_bytes()).ok().filter(|bytes| bytes.len() == LENGTH);
        let bytes = bytes.ok_or_else(|| wrong("is not in base64, or not all there"))?;
        Ok(Self { key: key.to_owned(), bytes })
    }

    /// Whose it says it is: `U...`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Checks that it is one of the content with this digest, by one of these keys.
    ///
    /// # Errors
    /// If it is not.
    pub fn check(&self, digest: &Digest, trusted: &[String]) -> Result<(), SignatureError> {
        if !trusted.contains(&self.key) {
            return Err(SignatureError::Untrusted(self.key.clone()));
        }
        let verified = KeyPair::from_public_key(&self.key).and_then(|key| key.verify(&message(digest), &self.bytes));
        verified.map_err(|_| SignatureError::OtherContent(self.key.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    fn signer() -> Signer {
        Signer::of_seed(&KeyPair::new_user().seed().unwrap()).unwrap()
    }

    fn digest(digit: &str) -> Digest {
        digit.repeat(64).into()
    }

    #[test]
    fn a_signature_is_of_one_content_by_one_key() {
        let (signer, other) = (signer(), signer());
        let written = signer.sign(&digest("a")).unwrap().to_string();
        let signature = Signature::parse(written.as_bytes()).unwrap();
        let (key, trusted) = (signer.public_key(), [other.public_key(), signer.public_key()]);
        assert_eq!(signature.check(&digest("a"), &trusted), Ok(()));
        assert_eq!(signature.check(&digest("b"), &trusted), Err(SignatureError::OtherContent(key.clone())));
        assert_eq!(signature.check(&digest("a"), &trusted[..1]), Err(SignatureError::Untrusted(key)));
        assert!(signature.check(&digest("a"), &[]).is_err());
        // What claims to be somebody else's.
        let forged = Signature { key: other.public_key(), ..signature };
        assert_eq!(forged.check(&digest("a"), &trusted), Err(SignatureError::OtherContent(other.public_key())));
    }

    #[test]
    fn the_message_is_as_the_page_says_so_that_others_can_sign_too() {
        let signer = signer();
        let by_hand = format!("tidegate-plugin-signature-v1\nsha256:{}\n", "a".repeat(64));
        let bytes = signer.0.sign(by_hand.as_bytes()).unwrap();
        let (key, encoded) = (signer.public_key(), BASE64.encode(&bytes));
        let written = format!("tidegate-plugin-signature-v1\nkey: {key}\nsignature: {encoded}\n");
        let signature = Signature::parse(written.as_bytes()).unwrap();
        assert_eq!(signature.check(&digest("a"), &[signer.public_key()]), Ok(()));
        // Nothing that a server's challenge, or the bare digest, was signed with is taken.
        for of in ["a".repeat(64), format!("sha256:{}\n", "a".repeat(64)), String::new()] {
            let replayed = Signature { bytes: signer.0.sign(of.as_bytes()).unwrap(), ..signature.clone() };
            assert!(replayed.check(&digest("a"), &[signer.public_key()]).is_err(), "{of}");
        }
    }

    #[test]
    fn what_is_not_a_whole_signature_is_told_as_that() {
        let whole = signer().sign(&digest("a")).unwrap().to_string();
        for end in 0..whole.len() - 1 {
            let half = Signature::parse(&whole.as_bytes()[..end]);
            assert!(matches!(half, Err(SignatureError::Malformed(_))), "{end}");
        }
        let account = KeyPair::new_account().public_key();
        let long = format!("{whole}{}", "x".repeat(MOST));
        for (bad, expected) in [
            (b"\xff\xfe".to_vec(), "is not text"),
            (long.into_bytes(), "is larger"),
            (whole.replace("-v1", "-v2").into_bytes(), "of this version"),
            (format!("{whole}more\n").into_bytes(), "three lines"),
            (format!("{FIRST_LINE}\nkey: {account}\nsignature: AAAA\n").into_bytes(), "no user's public nkey"),
            (format!("{FIRST_LINE}\nkey: {}\nsignature: ==\n", signer().public_key()).into_bytes(), "base64"),
        ] {
            let told = Signature::parse(&bad).unwrap_err().to_string();
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn a_seed_is_not_taken_for_a_public_key_and_never_repeated() {
        let (user, account) = (KeyPair::new_user(), KeyPair::new_account());
        assert_eq!(public_key(&user.public_key()), Ok(()));
        for bad in [user.seed().unwrap(), account.public_key(), "U".to_owned(), String::new()] {
            assert!(public_key(&bad).is_err(), "{bad}");
        }
        assert!(Signer::of_seed(&account.seed().unwrap()).is_err() && Signer::of_seed("SU").is_err());
        assert!(!format!("{:?}", Signer(user.clone())).contains(&user.seed().unwrap()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_or_checking_panic(bytes in any::<Vec<u8>>(), tail in "[A-Za-z0-9+/=]{0,100}") {
            let _ = Signature::parse(&bytes);
            let key = KeyPair::new_user().public_key();
            let written = format!("{FIRST_LINE}\nkey: {key}\nsignature: {tail}\n");
            if let Ok(signature) = Signature::parse(written.as_bytes()) {
                prop_assert!(signature.check(&digest("a"), &[key]).is_err());
            }
        }
    }
}
