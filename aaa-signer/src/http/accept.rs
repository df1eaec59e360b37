//! What the two headers about media types mean to the original.

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};

use super::problem::Problem;

/// What is taken for the type of a body that does not say.
const UNSAID: &str = "application/octet-stream";

/// Whether the body is JSON by its header, parameters aside.
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let given = match headers.get(CONTENT_TYPE) {
        None => UNSAID,
        Some(value) => value.to_str().unwrap_or_default(),
    };
    let given = if given.is_empty() { UNSAID } else { given };
    let media_type = given.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    if !is_media_type(media_type) {
        return Err(Problem::NoMediaType(given.to_owned()));
    }
    Err(Problem::NotJson(media_type.to_ascii_lowercase()))
}

/// A type, or a type and a subtype, of the letters that names may have.
fn is_media_type(text: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte))
    };
    match text.split_once('/') {
        Some((kind, subtype)) => is_name(kind) && is_name(subtype),
        None => is_name(text),
    }
}

/// Whether JSON is among what the client accepts.
///
/// It gets JSON in any case; the original then leaves the content type empty.
pub(super) fn takes_json(headers: &HeaderMap) -> bool {
    let mut said = false;
    for value in headers.get_all(ACCEPT) {
        let Ok(text) = value.to_str() else { continue };
        for range in text.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            if name.is_empty() {
                continue;
            }
            said = true;
            let refused =
                parts
                    .filter_map(|parameter| parameter.split_once('='))
                    .any(|(name, value)| {
                        name.trim().eq_ignore_ascii_case("q")
                            && value
                                .trim()
                                .parse()
                                .is_ok_and(|quality: f32| quality <= 0.0)
                    });
            let fits = ["*/*", "application/*", "application/json"]
                .iter()
                .any(|json| name.eq_ignore_ascii_case(json));
            if fits && !refused {
                return true;
            }
        }
    }
    !said
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(name: HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_body_must_say_that_it_is_json() {
        let check = |values: &[&'static str]| check_content_type(&headers(CONTENT_TYPE, values));
        assert_eq!(check(&["application/json"]), Ok(()));
        assert_eq!(check(&["Application/JSON; charset=utf-8"]), Ok(()));
        let not_json = |text: &str| Err(Problem::NotJson(text.to_owned()));
        assert_eq!(check(&[]), not_json("application/octet-stream"));
        assert_eq!(check(&[""]), not_json("application/octet-stream"));
        assert_eq!(check(&["text/plain"]), not_json("text/plain"));
        assert_eq!(check(&["text/json; x=y"]), not_json("text/json"));
        assert_eq!(check(&["json"]), not_json("json"));
        assert_eq!(check(&["a b"]), Err(Problem::NoMediaType("a b".to_owned())));
    }

    #[test]
    fn json_is_accepted_unless_only_other_things_are_named() {
        let takes = |values: &[&'static str]| takes_json(&headers(ACCEPT, values));
        assert!(takes(&[]));
        assert!(takes(&[""]));
        assert!(takes(&["*/*"]));
        assert!(takes(&["text/html, application/*;q=0.5"]));
        assert!(takes(&["text/html", "application/json"]));
        assert!(!takes(&["text/html"]));
        assert!(!takes(&["text/html, application/json;q=0"]));
    }
}
