//! Counts the rows of a file as it streams by, so that the manifest can say how many each file has
//! without reading anything twice.

use cleanroom_model::analytics::Format;

/// A running count.
pub struct RowCounter {
    format: Format,
    in_quotes: bool,
    line_open: bool,
    lines: u64,
}

impl RowCounter {
    /// For a file in this format. CSV files carry a header and double their quotes, JSON files hold
    /// one object per line; Parquet cannot be counted this way.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            format,
            in_quotes: false,
            line_open: false,
            lines: 0,
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.format == Format::Parquet {
            return;
        }
        for byte in bytes {
            match byte {
                b'"' if self.format == Format::Csv => {
                    self.in_quotes = !self.in_quotes;
                    self.line_open = true;
                }
                b'\n' if !self.in_quotes => {
                    self.lines = self.lines.saturating_add(1);
                    self.line_open = false;
                }
                _ => self.line_open = true,
            }
        }
    }

    /// Rows of the whole file, if the format allows counting.
    #[must_use]
    pub fn finish(self) -> Option<u64> {
        let lines = self.lines.saturating_add(u64::from(self.line_open));
        match self.format {
            Format::Csv => Some(lines.saturating_sub(1)),
            Format::Json => Some(lines),
            Format::Parquet => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_whatever_the_pieces() {
        for (format, text, rows) in [
            (Format::Csv, "", Some(0)),
            (Format::Csv, "a,b\n", Some(0)),
            (Format::Csv, "a,b\n1,2\n3,4\n", Some(2)),
            (Format::Csv, "a,b\n1,2\n3,4", Some(2)),
            (
                Format::Csv,
                "a\n\"two\nlines\"\n\"a \"\"quote\"\"\n\"\nend\n",
                Some(3),
            ),
            (Format::Json, "{\"a\":\"\\\"\"}\n{}\n", Some(2)),
            (Format::Parquet, "PAR1\n", None),
        ] {
            for piece in 1..4 {
                let mut counter = RowCounter::new(format);
                text.as_bytes()
                    .chunks(piece)
                    .for_each(|bytes| counter.push(bytes));
                assert_eq!(counter.finish(), rows, "{text:?} in pieces of {piece}");
            }
        }
    }
}
