//! The flags that give settings to the commands that run by themselves.

use std::path::PathBuf;

use clap::Args;

use crate::config::mistake::Mistakes;
use crate::config::{Override, Overrides, Settings};

/// Where settings come from: a file, then variables, then these flags.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Settings")]
pub struct ConfigFlags {
    /// Settings file (TOML); every key also as a variable, OFFPUSH__SECTION__KEY
    #[arg(short, long, env = "OFFPUSH_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to listen; port 0 takes any free port
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where the store and the secret key live
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Any setting, such as store.engine=redb
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
    /// Development: start without an admin key
    #[arg(long)]
    pub dev: bool,
}

/// Splits `key=value`.
fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}

impl ConfigFlags {
    /// Reads the settings of this process.
    ///
    /// # Errors
    /// Every mistake of every source.
    pub fn load(&self) -> Result<Settings, Mistakes> {
        // Variables that are not text cannot set anything of ours.
        let env = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        self.load_from(env)
    }

    /// The same with another environment.
    ///
    /// # Errors
    /// As [`ConfigFlags::load`].
    pub fn load_from(
        &self,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Settings, Mistakes> {
        Settings::load(self.config.as_deref(), env, &self.overrides())
    }

    fn overrides(&self) -> Overrides {
        let named =
            [("--listen", "listen", &self.listen), ("--data-dir", "data_dir", &self.data_dir)];
        let single = named.into_iter().filter_map(|(flag, key, value)| {
            let value = value.clone()?;
            Some(Override { flag: flag.to_owned(), key: key.to_owned(), value })
        });
        let general = self.set.iter().map(|(key, value)| Override {
            flag: "--set".to_owned(),
            key: key.clone(),
            value: value.clone(),
        });
        Overrides { dev: self.dev, set: general.chain(single).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_beat_the_environment() {
        let flags = ConfigFlags {
            listen: Some("127.0.0.1:7".to_owned()),
            set: vec![("store.cache_mb".to_owned(), "5".to_owned())],
            dev: true,
            ..ConfigFlags::default()
        };
        let env = [("OFFPUSH__LISTEN", "127.0.0.1:6"), ("OFFPUSH__STORE__CACHE_MB", "4")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = flags.load_from(env).expect("good settings");
        assert_eq!(settings.listen.port(), 7);
        assert_eq!(settings.store.cache_mb, 5);
    }

    #[test]
    fn a_mistake_in_a_flag_names_the_flag() {
        let flags =
            ConfigFlags { listen: Some("here".to_owned()), dev: true, ..ConfigFlags::default() };
        let mistakes = flags.load_from([]).expect_err("not an address");
        assert_eq!(mistakes.0[0].origin, "--listen");
    }

    #[test]
    fn a_setting_is_split_at_its_first_equals_sign() {
        assert_eq!(setting("a.b=c=d"), Ok(("a.b".to_owned(), "c=d".to_owned())));
        assert!(setting("a.b").is_err());
        assert!(setting("=x").is_err());
    }
}
