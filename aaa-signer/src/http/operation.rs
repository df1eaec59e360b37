//! What can be asked by HTTP: the one list from which both the router and its description are made.

use axum::http::Method;

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// A token for a name and a password, as Choria asks for it.
    ChoriaLogin,
    /// A signature, as Choria asks for it.
    ChoriaSign,
    /// The ways to log in.
    Methods,
    /// A token for a name, a password, and a one-time code.
    Password,
    /// Begin of a login of several steps.
    Begin,
    /// A further step of it.
    Continue,
    /// End of a session.
    Logout,
    /// The description of all this.
    Description,
    /// Whether the process runs.
    Healthz,
    /// Whether it does its work.
    Readyz,
    /// Figures.
    Metrics,
}

impl Operation {
    /// All of them.
    pub(super) const ALL: [Self; 11] = [
        Self::ChoriaLogin,
        Self::ChoriaSign,
        Self::Methods,
        Self::Password,
        Self::Begin,
        Self::Continue,
        Self::Logout,
        Self::Description,
        Self::Healthz,
        Self::Readyz,
        Self::Metrics,
    ];

    /// The operation that is at that path.
    pub(super) fn at(path: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.path() == path)
    }

    /// Where it is; no two are at one path.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::ChoriaLogin => "/choria/v1/login",
            Self::ChoriaSign => "/choria/v1/sign",
            Self::Methods => "/overlay/v1/login",
            Self::Password => "/overlay/v1/login/password",
            Self::Begin => "/overlay/v1/login/begin",
            Self::Continue => "/overlay/v1/login/continue",
            Self::Logout => "/overlay/v1/login/logout",
            Self::Description => "/openapi.json",
            Self::Healthz => "/healthz",
            Self::Readyz => "/readyz",
            Self::Metrics => "/metrics",
        }
    }

    /// The one method that it takes; one that reads is served for `HEAD` too.
    pub(super) fn method(self) -> Method {
        match self {
            Self::ChoriaLogin
            | Self::ChoriaSign
            | Self::Password
            | Self::Begin
            | Self::Continue
            | Self::Logout => Method::POST,
            Self::Methods | Self::Description | Self::Healthz | Self::Readyz | Self::Metrics => {
                Method::GET
            }
        }
    }

    /// What is told to those who try another method.
    pub(super) fn allowed(self) -> &'static str {
        if self.method() == Method::POST {
            "POST"
        } else {
            "GET,HEAD"
        }
    }

    /// Its name in labels, logs and the description.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::ChoriaLogin => "choria_login",
            Self::ChoriaSign => "choria_sign",
            Self::Methods => "login_methods",
            Self::Password => "login_password",
            Self::Begin => "login_begin",
            Self::Continue => "login_continue",
            Self::Logout => "logout",
            Self::Description => "openapi",
            Self::Healthz => "healthz",
            Self::Readyz => "readyz",
            Self::Metrics => "metrics",
        }
    }
}
