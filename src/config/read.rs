//! Puts the sources on top of each other and finds every mistake, not only the first.
//!
//! figment stops at the first value that does not fit. So each given value is tried alone on top
//! of the defaults: what does not fit there is a mistake of that very key, what fits is kept, and
//! the kept values together give settings whose ranges and relations can still be checked.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use figment::error::{Error, Kind};
use figment::providers::{Format, Serialized, Toml};
use figment::util::nest;
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use secrecy::SecretString;

use crate::config::check;
use crate::config::mistake::{Mistake, Mistakes, nearest};
use crate::config::secret;
use crate::config::{
    ADMIN_KEY_VARIABLE, Overrides, SECRET_KEY_VARIABLE, Settings, VARIABLE_PREFIX,
};

/// Where a value came from when no source gave it.
const DEFAULT_ORIGIN: &str = "default";

/// See [`Settings::load`].
pub(in crate::config) fn load(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
    overrides: &Overrides,
) -> Result<Settings, Mistakes> {
    let mut mistakes = Vec::new();
    let mut given = Given::default();
    if let Some(path) = file {
        match file_layer(path) {
            Ok(layer) => given.add(layer),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    let (mut admin_key, mut secret_key) = (None, None);
    for (name, value) in env {
        if name == ADMIN_KEY_VARIABLE && !value.trim().is_empty() {
            admin_key = Some(SecretString::from(value.trim()));
        } else if name == SECRET_KEY_VARIABLE && !value.trim().is_empty() {
            match secret::parse_secret_key(value.as_bytes()) {
                Ok(_) => secret_key = Some(SecretString::from(value)),
                Err(error) => {
                    let origin = format!("variable {name}");
                    mistakes.push(Mistake::new("secrets.key_file", error.to_string(), &origin));
                }
            }
        } else if let Some(key) = name.strip_prefix(VARIABLE_PREFIX)
            && !value.is_empty()
        {
            let key = key.to_ascii_lowercase().replace("__", ".");
            given.add_text(&key, &value, &format!("variable {name}"));
        }
    }
    for given_flag in &overrides.set {
        given.add_text(&given_flag.key, &given_flag.value, &given_flag.flag);
    }
    let (mut settings, wrong) = given.settle();
    mistakes.extend(wrong);
    settings.dev = overrides.dev;
    settings.auth.admin_key = admin_key;
    settings.secrets.key = secret_key;
    let admin_key_seen = !mistakes.iter().any(|mistake| mistake.key == "auth.admin_key_file");
    let origin = |key: &str| given.origin(key);
    if admin_key_seen && let Err(mistake) = read_admin_key(&mut settings, origin) {
        mistakes.push(mistake);
    }
    check::check(&settings, &origin, &mut mistakes);
    mistakes.sort_by(|a, b| a.key.cmp(&b.key));
    if mistakes.is_empty() { Ok(settings) } else { Err(Mistakes(mistakes)) }
}

/// Reads the TOML file as one layer.
fn file_layer(path: &Path) -> Result<Layer, Mistake> {
    let origin = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| {
        let wrong = match error.kind() {
            ErrorKind::NotFound => "the file does not exist".to_owned(),
            _ => format!("the file cannot be read: {error}"),
        };
        Mistake::new("", wrong, &origin)
    })?;
    let mut profiles = Toml::string(&text)
        .data()
        .map_err(|error| Mistake::new("", format!("not TOML: {}", one_line(&error)), &origin))?;
    let values = profiles.remove(&Profile::Default).unwrap_or_default();
    Ok(Layer { origin, values })
}

/// Fills in the admin key from its file when the variable gave none.
fn read_admin_key(settings: &mut Settings, origin: impl Fn(&str) -> String) -> Result<(), Mistake> {
    const KEY: &str = "auth.admin_key_file";
    if settings.auth.admin_key.is_some() {
        return Ok(());
    }
    match &settings.auth.admin_key_file {
        Some(path) => {
            let key = secret::admin_key(path).map_err(|error| {
                let wrong = format!("{}: {error}", path.display());
                Mistake::new(KEY, wrong, &origin(KEY))
            })?;
            settings.auth.admin_key = Some(key);
        }
        None if settings.dev => {}
        None => {
            let wrong = format!(
                "there is no admin key: set this, or the variable {ADMIN_KEY_VARIABLE} \
                 (only --dev starts without one)"
            );
            return Err(Mistake::new(KEY, wrong, &origin(KEY)));
        }
    }
    Ok(())
}

/// One source's values.
#[derive(Clone)]
struct Layer {
    origin: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// What all sources gave, later ones on top.
#[derive(Default)]
struct Given {
    figment: Figment,
    /// Values that arrived as text, whose type only the setting knows.
    texts: BTreeMap<String, String>,
}

impl Given {
    fn add(&mut self, layer: Layer) {
        self.figment = std::mem::take(&mut self.figment).merge(layer);
    }

    fn add_text(&mut self, key: &str, text: &str, origin: &str) {
        self.texts.insert(key.to_owned(), text.to_owned());
        let value = Value::from(text);
        if let Some(values) = nest(key, value).into_dict() {
            self.add(Layer { origin: origin.to_owned(), values });
        }
    }

    /// Where the value of a key came from.
    fn origin(&self, key: &str) -> String {
        match self.figment.find_metadata(key) {
            Some(metadata) => metadata.name.clone().into_owned(),
            None => DEFAULT_ORIGIN.to_owned(),
        }
    }

    /// The settings made of every value that fits, and a mistake for every one that does not.
    fn settle(&self) -> (Settings, Vec<Mistake>) {
        let defaults = Figment::from(Serialized::defaults(Settings::default()));
        let mut kept = defaults.clone();
        let mut mistakes = Vec::new();
        let mut leaves = Vec::new();
        if let Ok(mut profiles) = self.figment.data() {
            let values = profiles.remove(&Profile::Default).unwrap_or_default();
            collect_leaves(String::new(), values, &mut leaves);
        }
        for (key, value) in leaves {
            match self.fitting(&defaults, &key, value) {
                Ok(layer) => kept = kept.merge(layer),
                Err(kind) => {
                    let wrong = describe(&key, kind);
                    mistakes.push(Mistake::new(&key, wrong, &self.origin(&key)));
                }
            }
        }
        match kept.extract() {
            Ok(settings) => (settings, mistakes),
            // Each value fits alone, so together they do; a new kind of setting might not.
            Err(error) => {
                mistakes.push(Mistake::new("", one_line(&error), DEFAULT_ORIGIN));
                (Settings::default(), mistakes)
            }
        }
    }

    /// The layer of this one value, when the settings take it.
    ///
    /// A text may mean a number or a switch: it is tried as text, then as what it looks like.
    fn fitting(&self, defaults: &Figment, key: &str, value: Value) -> Result<Layer, Kind> {
        let looks_like = match self.texts.get(key) {
            Some(text) if value.as_str() == Some(text) => text.parse::<Value>().ok(),
            _ => None,
        };
        let first = try_alone(defaults, key, value);
        match looks_like {
            Some(parsed) if first.is_err() => try_alone(defaults, key, parsed),
            _ => first,
        }
    }
}

/// Tries one value on top of the defaults.
fn try_alone(defaults: &Figment, key: &str, value: Value) -> Result<Layer, Kind> {
    let values = nest(key, value).into_dict().unwrap_or_default();
    let layer = Layer { origin: key.to_owned(), values };
    defaults.clone().merge(layer.clone()).extract::<Settings>().map_err(|error| error.kind)?;
    Ok(layer)
}

/// Every value that is not itself a table, with its dotted key.
fn collect_leaves(prefix: String, values: Dict, leaves: &mut Vec<(String, Value)>) {
    for (name, value) in values {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Dict(_, inner) if !inner.is_empty() => collect_leaves(key, inner, leaves),
            other => leaves.push((key, other)),
        }
    }
}

/// What is wrong with the value of `key`, in our words.
fn describe(key: &str, kind: Kind) -> String {
    match kind {
        Kind::UnknownField(field, known) => {
            let section = key.rsplit_once('.').map(|(section, _)| section);
            let place = section.map_or(String::new(), |section| format!(" in [{section}]"));
            match nearest(&field, known.iter().copied()) {
                Some(meant) => format!("there is no such setting{place}, did you mean `{meant}`"),
                None => format!("there is no such setting{place}"),
            }
        }
        Kind::UnknownVariant(given, known) => {
            format!("must be one of {}, not `{given}`", known.join(", "))
        }
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            let expected = match expected.as_str() {
                "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
                other => other,
            };
            format!("must be {expected}, not {actual}")
        }
        other => one_line(&Error::from(other)),
    }
}

/// An error on one line.
fn one_line(error: &Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
