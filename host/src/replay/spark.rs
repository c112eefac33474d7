//! A line of numbers as a line of text.

/// Eighths of a block; nothing is a space.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws the values in so many characters, each the largest of its part; `top` fills a character.
pub fn spark(values: &[u32], width: usize, top: u32) -> String {
    let width = width.min(values.len()).max(1);
    (0..width)
        .map(|column| {
            let (from, to) = (column * values.len() / width, (column + 1) * values.len() / width);
            let most = values.get(from..to.max(from + 1)).into_iter().flatten().copied().max().unwrap_or(0);
            let eighths = u64::from(most) * 8;
            let block = eighths.div_ceil(u64::from(top.max(1))).min(8);
            usize::try_from(block).ok().and_then(|block| BLOCKS.get(block)).copied().unwrap_or('█')
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_character_is_the_largest_of_its_part() {
        assert_eq!(spark(&[0, 0, 4, 1, 8, 8], 3, 8), " ▄█");
        assert_eq!(spark(&[0, 1, 8], 80, 8), " ▁█");
        assert_eq!(spark(&[3], 10, 0), "█");
        assert_eq!(spark(&[], 10, 5), " ");
    }
}
