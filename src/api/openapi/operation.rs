//! What is said of one operation: one method of one path.

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Without a key.
    Anybody,
    /// A vendor, by a proof of its own.
    Vendor,
    /// The app's chat server: by a webhook's signature, or as the app.
    ChatServer,
    /// The operator.
    Admin,
    /// The operator or the app.
    App,
    /// The operator, the app, or the user with a UserSig.
    User,
}

/// The request's body; names are those of schemas.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// None.
    Nothing,
    /// JSON.
    Json(&'static str),
    /// JSON, or nothing for the defaults.
    JsonOrNothing(&'static str),
    /// JSON, or a form with a file.
    JsonOrForm(&'static str, &'static str),
}

/// An answer's body.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// None.
    Nothing,
    /// Plain text.
    Text,
    /// JSON of this schema.
    Json(&'static str),
}

/// One method of one path.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// `get`, `put`, `post` or `delete`.
    pub method: &'static str,
    /// With `{parameters}`.
    pub path: &'static str,
    /// Unique name, for generated clients.
    pub id: &'static str,
    /// Who may ask.
    pub caller: Caller,
    /// One line.
    pub summary: &'static str,
    /// The request's body.
    pub takes: Takes,
    /// Parameters behind the `?`.
    pub query: &'static [&'static str],
    /// Success by status; everything else is an error, of its own shape when `default` says so.
    pub answers: &'static [(&'static str, Answer)],
}

impl Operation {
    /// The names between braces.
    pub fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }

    /// What it is about: the first fixed word below the app or the user.
    pub fn tag(&self) -> &'static str {
        let mut words = self.path.split('/').filter(|word| !word.is_empty());
        if words.next() != Some("v1") {
            return "relay";
        }
        let is_fixed = |word: &&str| !word.starts_with('{') && !["apps", "users"].contains(word);
        words.find(is_fixed).unwrap_or("apps")
    }
}

const fn at(method: &'static str, path: &'static str) -> Operation {
    Operation {
        method,
        path,
        id: "",
        caller: Caller::Admin,
        summary: "",
        takes: Takes::Nothing,
        query: &[],
        answers: &[],
    }
}

pub(super) const fn get(path: &'static str) -> Operation {
    at("get", path)
}

pub(super) const fn put(path: &'static str) -> Operation {
    at("put", path)
}

pub(super) const fn post(path: &'static str) -> Operation {
    at("post", path)
}

pub(super) const fn delete(path: &'static str) -> Operation {
    at("delete", path)
}
