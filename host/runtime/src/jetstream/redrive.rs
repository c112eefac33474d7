//! Sends one dead letter back, and removes it.

use super::dead_letter_errors::{LettersError, SendError};
use super::dead_letter_stream::Letters;
use crate::dead_letter::Letter;

/// What became of a letter that was to be sent back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redriven {
    /// Its stream has stored the original.
    Stored {
        /// It had it already, from a redrive before this one.
        duplicate: bool,
        /// The letter is removed.
        removed: bool,
    },
    /// The letter is not there any more.
    Gone,
}

impl Letters {
    /// Publishes the original of the letter at this position again, into another stream if one is named, and removes
    /// the letter unless it is to be kept.
    ///
    /// # Errors
    /// If it cannot be sent, is not stored, or the letter cannot be removed. It stays then.
    pub async fn redrive(&self, sequence: u64, into: Option<&str>, keep: bool) -> Result<Redriven, SendError> {
        let server = |error: LettersError| SendError::Server(error.to_string());
        let stored = self.get(sequence).await.map_err(server)?;
        let Some((letter, stored)) = stored.and_then(|stored| Some((Letter::read(&stored)?, stored))) else {
            return Ok(Redriven::Gone);
        };
        let original = self.original(&letter, &stored).await.map_err(server)?;
        let original = original.ok_or_else(|| SendError::Letter(content_lost(sequence)))?;
        let duplicate = self.send(&letter, original, into).await?;
        if keep {
            return Ok(Redriven::Stored { duplicate, removed: false });
        }
        let removed = self.delete(&letter).await;
        let removed = removed.map_err(|error| SendError::Server(format!("published, and not removed: {error}")))?;
        Ok(Redriven::Stored { duplicate, removed })
    }
}

/// Says that only half of a letter is left.
pub fn content_lost(sequence: u64) -> String {
    format!("the message that holds headers and payload of dead letter {sequence} is gone from the stream")
}
