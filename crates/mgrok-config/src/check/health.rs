//! A proxy's `healthCheck`.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::header::check_header;
use crate::proxy::{HealthCheck, HealthCheckKind};
use crate::section::Section;

// frp: the same
const TIMEOUT: Duration = Duration::from_secs(3);
// frp: the same
const INTERVAL: Duration = Duration::from_secs(10);
// frp: the same
const MAX_FAILED: NonZeroU32 = NonZeroU32::MIN;

/// Reads the section; `None` if nothing is to be watched, or there is no port to watch.
pub(super) fn health_check(
    mut section: Section<'_>,
    local_port: Option<u16>,
) -> Option<HealthCheck> {
    // frp: less than nothing is the default too
    let timeout = section.seconds_or_off("timeoutSeconds").flatten();
    let max_failed = section.count("maxFailed").and_then(NonZeroU32::new);
    let interval = section.seconds_or_off("intervalSeconds").flatten();
    let path = section.text("path");
    let headers = headers(&mut section);
    let kind = section.choice("type", &["tcp", "http"], |word| {
        // frp: the first half of this wording
        let word = word.escape_debug();
        format!("not support health check type: {word}, must be \"tcp\" or \"http\"")
    });
    let kind = match kind.as_deref() {
        None if section.says("type") => return None,
        None => {
            for key in ["path", "httpHeaders"] {
                if section.says(key) {
                    section.warn(key, "does nothing without `healthCheck.type`");
                }
            }
            return None;
        }
        Some("tcp") => {
            for key in ["path", "httpHeaders"] {
                if section.says(key) {
                    section.warn(key, "does nothing while `healthCheck.type` is \"tcp\"");
                }
            }
            HealthCheckKind::Tcp
        }
        Some(_) => HealthCheckKind::Http {
            path: http_path(&mut section, path),
            headers,
        },
    };
    if local_port.is_none() {
        section.warn("type", "does nothing without `localPort`");
        return None;
    }
    Some(HealthCheck {
        kind,
        timeout: timeout.unwrap_or(TIMEOUT),
        max_failed: max_failed.unwrap_or(MAX_FAILED),
        interval: interval.unwrap_or(INTERVAL),
    })
}

fn http_path(section: &mut Section<'_>, path: Option<String>) -> String {
    let Some(path) = path else {
        if !section.says("path") {
            // frp: this wording
            section.invalid("path", "health check path should not be empty");
        }
        return String::new();
    };
    let is_right = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>`".contains(&byte);
    if !path.bytes().all(is_right) {
        section.invalid(
            "path",
            format!("must be written as in a URL, where a space is `%20`, not {path:?}"),
        );
    }
    if path.starts_with('/') {
        path
    } else {
        format!("/{path}")
    }
}

fn headers(section: &mut Section<'_>) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for mut header in section.sections("httpHeaders") {
        let name = header.text("name").unwrap_or_default();
        let value = header.text("value").unwrap_or_default();
        if header.is_flawed() {
            continue;
        }
        if let Err(error) = check_header(&name, &value) {
            header.invalid("", error.to_string());
        }
        headers.push((name, value));
    }
    headers
}
