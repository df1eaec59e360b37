//! The few printf directives that descriptions use.

/// A value to put in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arg<'a> {
    Text(&'a str),
    Count(u64),
    Number(f64),
}

/// Widest field; a description cannot make longer lines.
const MAX_WIDTH: usize = 200;

/// Puts values in place of `%s`, `%d`, `%f`, `%v` with flag `-`, width and precision; `%%` is a percent sign.
///
/// What is no such directive stays as it is, and a directive without a value goes away.
pub(super) fn printf(format: &str, args: &[Arg<'_>]) -> String {
    let mut out = String::with_capacity(format.len() + 16);
    let mut args = args.iter();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(rest.get(..at).unwrap_or_default());
        let tail = rest.get(at + 1..).unwrap_or_default();
        let Some(directive) = Directive::read(tail) else {
            out.push('%');
            rest = tail;
            continue;
        };
        rest = tail.get(directive.len..).unwrap_or_default();
        if directive.verb == '%' {
            out.push('%');
        } else if let Some(arg) = args.next() {
            directive.write(arg, &mut out);
        }
    }
    out.push_str(rest);
    out
}

struct Directive {
    left: bool,
    width: usize,
    precision: Option<usize>,
    verb: char,
    len: usize,
}

impl Directive {
    fn read(text: &str) -> Option<Self> {
        let (left, after_flag) = text
            .strip_prefix('-')
            .map_or((false, text), |rest| (true, rest));
        let (width, after_width) = number(after_flag);
        let (precision, after_precision) = match after_width.strip_prefix('.') {
            Some(rest) => {
                let (precision, rest) = number(rest);
                (Some(precision), rest)
            }
            None => (None, after_width),
        };
        let verb = after_precision
            .chars()
            .next()
            .filter(|verb| matches!(verb, 's' | 'd' | 'f' | 'v' | '%'))?;
        Some(Self {
            left,
            width,
            precision,
            verb,
            len: text.len() - after_precision.len() + 1,
        })
    }

    fn write(&self, arg: &Arg<'_>, out: &mut String) {
        let text = match *arg {
            Arg::Text(text) => match self.precision {
                Some(most) if self.verb == 's' => text.chars().take(most).collect(),
                _ => text.to_owned(),
            },
            Arg::Count(count) => count.to_string(),
            Arg::Number(number) => match (self.verb, self.precision) {
                ('f', precision) => format!("{number:.*}", precision.unwrap_or(6)),
                (_, Some(precision)) => format!("{number:.precision$}"),
                (_, None) => number.to_string(),
            },
        };
        let pad = self.width.saturating_sub(text.chars().count());
        if self.left {
            out.push_str(&text);
        }
        out.extend(std::iter::repeat_n(' ', pad));
        if !self.left {
            out.push_str(&text);
        }
    }
}

fn number(text: &str) -> (usize, &str) {
    let end = text
        .find(|found: char| !found.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    (
        digits
            .parse::<usize>()
            .map_or(0, |width| width.min(MAX_WIDTH)),
        rest,
    )
}

#[cfg(test)]
mod tests {
    use super::{Arg, printf};

    #[test]
    fn directives_take_width_flag_and_precision() {
        assert_eq!(
            printf("%6s: %d", &[Arg::Text("abc"), Arg::Count(3)]),
            "   abc: 3"
        );
        assert_eq!(printf("%-6s|", &[Arg::Text("abc")]), "abc   |");
        assert_eq!(
            printf("Average: %.3f", &[Arg::Number(2.5)]),
            "Average: 2.500"
        );
        assert_eq!(
            printf("%d%% of %v", &[Arg::Count(5), Arg::Text("x")]),
            "5% of x"
        );
    }

    #[test]
    fn what_is_no_directive_stays() {
        assert_eq!(printf("100%", &[]), "100%");
        assert_eq!(printf("%q %é", &[Arg::Count(1)]), "%q %é");
        assert_eq!(printf("%999999999999999999999s", &[Arg::Text("x")]), "x");
        assert_eq!(printf("%s", &[]), "");
    }
}
