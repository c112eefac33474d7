//! Text in aligned columns, for a terminal.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Lines of columns that are as wide as their widest cell, two spaces apart. The columns in `right`, counted from 0,
/// are aligned to the right. No line ends in spaces.
pub fn aligned<R: IntoIterator<Item = String>>(rows: impl IntoIterator<Item = R>, right: &[usize]) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled).add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// As much of a line as fits into so many columns of a terminal, with a sign that there is more.
pub fn cut(line: &str, width: usize) -> String {
    if line.width() <= width {
        return line.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |c: &char| {
        let wide = c.width().unwrap_or(0);
        let fits = wide <= left;
        left = left.saturating_sub(wide);
        fits
    };
    let mut short: String = line.chars().take_while(fits).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_as_wide_as_its_widest_cell_and_numbers_stand_below_each_other() {
        let rows = [["name", "count", ""], ["größe", "9", "x"], ["日本", "1000000", ""]];
        let text = aligned(rows.map(|row| row.map(str::to_owned)), &[1]);
        assert_eq!(text, "name     count\ngröße        9  x\n日本   1000000");
    }

    #[test]
    fn what_is_cut_is_no_wider_than_asked() {
        assert_eq!((cut("größer", 6), cut("größer", 5)), ("größer".to_owned(), "größ…".to_owned()));
        assert_eq!(cut("日本日本", 4), "日…");
    }
}
