/// Any delivery as a dead letter.
pub fn letter(_: &[u8]) {}
