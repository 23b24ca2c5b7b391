//! Columns as Docker's lists have them: Go's text/tabwriter with columns of at least 10 characters and 3 spaces between.

/// Columns are at least so wide.
const WIDTH_MIN: usize = 10;
/// Between two columns.
const PADDING: usize = 3;
/// More columns than anybody reads are not told apart.
const COLUMNS_MAX: usize = 200;

/// Cells that end with a tab stand below each other, as long as the lines have such a cell.
pub(crate) fn columns(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.splitn(COLUMNS_MAX, '\t').collect()).collect();
    let mut writer = Writer { lines, widths: Vec::new(), out: String::new() };
    let count = writer.lines.len();
    writer.block(0, count);
    // The last line has no end of its own.
    writer.out.pop();
    writer.out
}

struct Writer<'t> {
    lines: Vec<Vec<&'t str>>,
    widths: Vec<usize>,
    out: String,
}

impl Writer<'_> {
    /// Lines from one to another, which have the columns of `widths` in common.
    fn block(&mut self, mut from: usize, to: usize) {
        let column = self.widths.len();
        let mut line = from;
        while line < to {
            if column + 1 >= self.lines[line].len() {
                line += 1;
                continue;
            }
            self.write(from, line);
            from = line;
            let has = |cells: &Vec<&str>| column + 1 < cells.len();
            let end = (line..to).find(|line| !has(&self.lines[*line])).unwrap_or(to);
            let widths = self.lines[line..end].iter().map(|cells| cells[column].chars().count() + PADDING);
            let width = widths.max().unwrap_or(0).max(WIDTH_MIN);
            self.widths.push(width);
            self.block(from, end);
            self.widths.pop();
            from = end;
            line = end;
        }
        self.write(from, to);
    }

    fn write(&mut self, from: usize, to: usize) {
        for cells in &self.lines[from..to] {
            for (index, cell) in cells.iter().enumerate() {
                self.out.push_str(cell);
                if let (Some(width), true) = (self.widths.get(index), index + 1 < cells.len()) {
                    self.out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
                }
            }
            self.out.push('\n');
        }
    }
}
