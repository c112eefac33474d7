//! Bars of characters.

/// Eighths of a block; nothing is a space.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A character that is filled from below by so many eighths.
pub fn block(eighths: usize) -> char {
    BLOCKS.get(eighths).copied().unwrap_or('█')
}

/// Draws the values in so many characters, each the largest of its part; `top` fills a character. A little is more than
/// nothing.
pub fn sparkline(values: &[f64], width: usize, top: f64) -> String {
    let width = width.min(values.len()).max(1);
    (0..width)
        .map(|column| {
            let (from, to) = (column * values.len() / width, (column + 1) * values.len() / width);
            let most = values.get(from..to.max(from + 1)).into_iter().flatten().copied().fold(0.0, f64::max);
            // The conversion saturates.
            block(if top > 0.0 { (most / top * 8.0).ceil() as usize } else { 0 })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_character_is_the_largest_of_its_part() {
        assert_eq!(sparkline(&[0.0, 0.0, 4.0, 1.0, 8.0, 8.0], 3, 8.0), " ▄█");
        assert_eq!(sparkline(&[0.0, 0.01, 8.0], 80, 8.0), " ▁█");
        assert_eq!(sparkline(&[9.0, 0.0], 10, 8.0), "█ ");
        assert_eq!(sparkline(&[], 10, 0.0), " ");
    }
}
