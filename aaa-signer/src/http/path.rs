//! Paths as the original cleans them before it looks: doubled and closing slashes and dot segments are no difference.

use std::borrow::Cow;

/// The path that is meant: rooted, without empty or dot segments, without a closing slash.
pub(super) fn clean(path: &str) -> Cow<'_, str> {
    if is_clean(path) {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    Cow::Owned(format!("/{}", kept.join("/")))
}

fn is_clean(path: &str) -> bool {
    path == "/"
        || path.strip_prefix('/').is_some_and(|rest| {
            rest.split('/')
                .all(|segment| !matches!(segment, "" | "." | ".."))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubled_and_closing_slashes_and_dots_go() {
        for (path, meant) in [
            ("/", "/"),
            ("", "/"),
            ("*", "/*"),
            ("/choria/v1/login", "/choria/v1/login"),
            ("/choria/v1/login/", "/choria/v1/login"),
            ("//choria/v1//login", "/choria/v1/login"),
            ("/choria/./v1/../v1/login", "/choria/v1/login"),
            ("/../../choria", "/choria"),
            ("/Choria/v1/...", "/Choria/v1/..."),
            ("///", "/"),
        ] {
            assert_eq!(clean(path), meant, "{path}");
        }
    }

    #[test]
    fn a_clean_path_is_not_copied() {
        assert!(matches!(clean("/choria/v1/sign"), Cow::Borrowed(_)));
    }
}
