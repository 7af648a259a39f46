//! Go's `printf`, with the verbs that texts, numbers and booleans have.

use super::value::Value;

/// The widest field.
const MAX_WIDTH: usize = 1000;

/// Formats values; or says why they do not fit the format, where Go writes that into the result.
pub(super) fn printf(format: &str, values: &[Value<'_>]) -> Result<String, String> {
    let mut text = String::new();
    let mut values = values.iter();
    let mut rest = format.chars().peekable();
    while let Some(next) = rest.next() {
        if next != '%' {
            text.push(next);
            continue;
        }
        let mut directive = Directive::default();
        while let Some(flag) = rest.next_if(|it| "-+# 0".contains(*it)) {
            match flag {
                '-' => directive.left = true,
                '+' => directive.plus = true,
                '#' => directive.sharp = true,
                '0' => directive.zero = true,
                _ => directive.space = true,
            }
        }
        directive.width = number(&mut rest)?;
        if rest.next_if_eq(&'.').is_some() {
            directive.precision = Some(number(&mut rest)?.unwrap_or(0));
        }
        let Some(verb) = rest.next() else {
            return Err("the format ends within a `%`; for the sign alone write `%%`".to_owned());
        };
        if verb == '%' {
            text.push('%');
            continue;
        }
        let Some(value) = values.next() else {
            return Err(format!("there is no argument for `%{verb}`"));
        };
        text += &directive.apply(verb, value)?;
    }
    match values.next() {
        None => Ok(text),
        Some(_) => Err("there are more arguments than the format takes".to_owned()),
    }
}

fn number(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Option<usize>, String> {
    let mut number = None;
    while let Some(digit) = rest.next_if(char::is_ascii_digit) {
        let digit = digit.to_digit(10).unwrap_or(0) as usize;
        let value = number.unwrap_or(0) * 10 + digit;
        if value > MAX_WIDTH {
            return Err(format!("fields are at most {MAX_WIDTH} wide"));
        }
        number = Some(value);
    }
    Ok(number)
}

#[derive(Default)]
struct Directive {
    left: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

impl Directive {
    fn apply(&self, verb: char, value: &Value<'_>) -> Result<String, String> {
        let plain = match (verb, value) {
            ('v', Value::Text(text)) if self.sharp => format!("{text:?}"),
            ('v', Value::Integer(integer)) => self.integer(*integer, 10),
            ('v', value) => value.as_argument(),
            ('s', Value::Text(text)) => match self.precision {
                Some(precision) => text.chars().take(precision).collect(),
                None => text.to_string(),
            },
            ('s', Value::Missing(_)) => "%!s(<nil>)".to_owned(),
            ('q', Value::Text(text)) => quoted(text),
            ('t', Value::Boolean(value)) => value.to_string(),
            ('d', Value::Integer(integer)) => self.integer(*integer, 10),
            ('x' | 'X', Value::Integer(integer)) => self.cased(verb, self.integer(*integer, 16)),
            ('o', Value::Integer(integer)) => self.integer(*integer, 8),
            ('b', Value::Integer(integer)) => self.integer(*integer, 2),
            ('c', Value::Integer(integer)) => {
                let found = u32::try_from(*integer).ok().and_then(char::from_u32);
                found.unwrap_or(char::REPLACEMENT_CHARACTER).to_string()
            }
            ('x' | 'X', Value::Text(text)) => {
                let hex = text.bytes().map(|byte| format!("{byte:02x}")).collect();
                self.cased(verb, hex)
            }
            ('f' | 'F', Value::Float(float)) => {
                let precision = self.precision.unwrap_or(6);
                let sign = if self.plus && *float >= 0.0 { "+" } else { "" };
                format!("{sign}{float:.precision$}")
            }
            ('d' | 's' | 'q' | 't' | 'x' | 'X' | 'o' | 'b' | 'c' | 'f' | 'F', value) => {
                return Err(format!("`%{verb}` does not take {}", value.kind()));
            }
            (verb, _) => {
                return Err(format!("`%{verb}` is not supported; `%v` takes any value"));
            }
        };
        Ok(self.padded(plain, value))
    }

    fn integer(&self, integer: i64, radix: u32) -> String {
        let magnitude = integer.unsigned_abs();
        let digits = match radix {
            2 => format!("{magnitude:b}"),
            8 => format!("{magnitude:o}"),
            16 => format!("{magnitude:x}"),
            _ => magnitude.to_string(),
        };
        let prefix = match radix {
            2 if self.sharp => "0b",
            8 if self.sharp => "0",
            16 if self.sharp => "0x",
            _ => "",
        };
        let least = self.precision.unwrap_or(0);
        let sign = match integer {
            ..0 => "-",
            _ if self.plus => "+",
            _ if self.space => " ",
            _ => "",
        };
        format!("{sign}{prefix}{digits:0>least$}")
    }

    fn cased(&self, verb: char, text: String) -> String {
        match verb {
            'X' => text.to_ascii_uppercase(),
            _ => text,
        }
    }

    fn padded(&self, text: String, value: &Value<'_>) -> String {
        let is_number = matches!(value, Value::Integer(_) | Value::Float(_));
        let width = self.width.unwrap_or(0);
        let missing = width.saturating_sub(text.chars().count());
        if missing == 0 {
            return text;
        }
        if self.left {
            return text + &" ".repeat(missing);
        }
        let has_digits = matches!(value, Value::Integer(_)) && self.precision.is_some();
        if self.zero && !has_digits {
            let sign = text.len() - text.trim_start_matches(['-', '+']).len();
            let (sign, digits) = text.split_at(if is_number { sign } else { 0 });
            return format!("{sign}{}{digits}", "0".repeat(missing));
        }
        " ".repeat(missing) + &text
    }
}

/// A text as Go's `strconv.Quote` writes it, which is a basic string of TOML too where there are no control characters.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted += "\\\"",
            '\\' => quoted += "\\\\",
            '\u{7}' => quoted += "\\a",
            '\u{8}' => quoted += "\\b",
            '\u{c}' => quoted += "\\f",
            '\n' => quoted += "\\n",
            '\r' => quoted += "\\r",
            '\t' => quoted += "\\t",
            '\u{b}' => quoted += "\\v",
            other if (other as u32) < 0x20 || other == '\u{7f}' => {
                quoted += &format!("\\x{:02x}", other as u32);
            }
            other => quoted.push(other),
        }
    }
    quoted + "\""
}
