//! A line of numbers as a line of text.

/// Eighths of a block; nothing is a space.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws the values in so many characters, each the largest of its part; `top` fills a character. A little is more than
/// nothing.
pub fn spark(values: &[f64], width: usize, top: f64) -> String {
    let width = width.min(values.len()).max(1);
    (0..width)
        .map(|column| {
            let (from, to) = (column * values.len() / width, (column + 1) * values.len() / width);
            let most = values.get(from..to.max(from + 1)).into_iter().flatten().copied().fold(0.0, f64::max);
            // The conversion saturates.
            let block = if top > 0.0 { (most / top * 8.0).ceil() as usize } else { 0 };
            BLOCKS.get(block).copied().unwrap_or('█')
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_character_is_the_largest_of_its_part() {
        assert_eq!(spark(&[0.0, 0.0, 4.0, 1.0, 8.0, 8.0], 3, 8.0), " ▄█");
        assert_eq!(spark(&[0.0, 0.01, 8.0], 80, 8.0), " ▁█");
        assert_eq!(spark(&[9.0, 0.0], 10, 8.0), "█ ");
        assert_eq!(spark(&[], 10, 0.0), " ");
    }
}
