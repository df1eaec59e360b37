//! A line chart in text.

const ROWS: u32 = 15;
const COLUMNS: usize = 60;

/// Draws values in the order given; nothing for none.
pub(super) fn draw(values: &[f64]) -> String {
    let series = resample(values);
    let (Some(low), Some(high)) = (
        series.iter().copied().reduce(f64::min),
        series.iter().copied().reduce(f64::max),
    ) else {
        return String::new();
    };
    let range = high - low;
    let row_of = |value: f64| {
        if range > 0.0 {
            row((value - low) / range)
        } else {
            0
        }
    };
    let last_row = if range > 0.0 { ROWS } else { 0 };
    let label_of = |row: u32| {
        if last_row == 0 {
            low
        } else {
            low + range * f64::from(row) / f64::from(ROWS)
        }
    };
    let labels: Vec<String> = (0..=last_row)
        .map(|row| format!("{:.2}", label_of(row)))
        .collect();
    let width = labels.iter().map(String::len).max().unwrap_or_default() + 5;

    let rows: Vec<u32> = series.iter().map(|value| row_of(*value)).collect();
    let mut lines = Vec::new();
    for (row, label) in (0..=last_row).rev().zip(labels.iter().rev()) {
        let mut line = format!("{label:>width$} ");
        line.push(if rows.first() == Some(&row) {
            '┼'
        } else {
            '┤'
        });
        line.extend(rows.windows(2).map(|pair| match pair {
            [from, to] => stroke(*from, *to, row),
            _ => ' ',
        }));
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

fn stroke(from: u32, to: u32, row: u32) -> char {
    if from == to {
        return if row == from { '─' } else { ' ' };
    }
    let down = to < from;
    if row == from {
        if down { '╮' } else { '╯' }
    } else if row == to {
        if down { '╰' } else { '╭' }
    } else if (from.min(to)..from.max(to)).contains(&row) {
        '│'
    } else {
        ' '
    }
}

/// Rounds a share of the height to a row.
fn row(share: f64) -> u32 {
    (0..=ROWS)
        .find(|row| share * f64::from(ROWS) < f64::from(*row) + 0.5)
        .unwrap_or(ROWS)
}

/// Stretches or shrinks to the chart's width by linear interpolation.
fn resample(values: &[f64]) -> Vec<f64> {
    let values: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    let steps = values.len().saturating_sub(1);
    if steps == 0 {
        return values;
    }
    (0..COLUMNS)
        .filter_map(|column| {
            let scaled = column * steps;
            let at = scaled / (COLUMNS - 1);
            let part = u32::try_from(scaled % (COLUMNS - 1)).ok()?;
            let whole = u32::try_from(COLUMNS - 1).ok()?;
            let before = values.get(at)?;
            let after = values.get(at + 1).unwrap_or(before);
            Some(before + (after - before) * f64::from(part) / f64::from(whole))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn a_rising_line_goes_from_bottom_left_to_top_right() {
        let chart = draw(&[0.0, 15.0]);
        let lines: Vec<&str> = chart.lines().collect();
        assert_eq!(lines.len(), 16);
        assert!(
            lines.first().unwrap().trim_start().starts_with("15.00 ┤"),
            "{chart}"
        );
        assert!(
            lines.last().unwrap().trim_start().starts_with("0.00 ┼─"),
            "{chart}"
        );
    }

    #[test]
    fn constant_single_missing_and_infinite_values_are_drawn() {
        assert_eq!(draw(&[]), "");
        assert_eq!(draw(&[2.0]).trim(), "2.00 ┼");
        assert_eq!(draw(&[2.0; 100]).lines().count(), 1);
        assert_eq!(draw(&[f64::NAN, f64::INFINITY]), "");
    }
}
