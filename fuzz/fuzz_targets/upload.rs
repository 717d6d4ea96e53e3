//! Uploaded credentials: p12, p8 and service-account files, and the JSON of the API. The first byte
//! says which vendor, the rest is the file.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use offpush::model::certificate::Environment;
use offpush::model::time::UnixMs;
use offpush::vendor;
use offpush::vendor::profile::Endpoints;
use offpush::vendor::upload::Upload;

/// The password is the one of `tests/fixtures`, which the seeds are made of.
fn value_of(name: &str) -> &'static str {
    if name == "password" { "fixture" } else { "ABCDE12345" }
}

fuzz_target!(|input: (u8, &[u8])| {
    let (which, file) = input;
    let vendor = vendor::ALL[usize::from(which) % vendor::ALL.len()];
    let endpoints = Endpoints::defaults(vendor.profile());
    let read = |credential: &serde_json::Value| {
        let now = UnixMs::from_secs(1_795_000_000);
        let environment = Environment::Production;
        let upload = Upload { credential, environment, endpoints: &endpoints, now };
        let _ = vendor.read_credential(&upload);
    };
    if let Ok(credential) = serde_json::from_slice(file) {
        read(&credential);
    }
    let names = ["password", "key_id", "team_id", "bundle_id"];
    let fields: BTreeMap<_, _> =
        names.map(|name| (name.to_owned(), value_of(name).to_owned())).into();
    for name in ["a.p8", "a.p12", "a.json"] {
        if let Ok(credential) = vendor.credential_from_file(name, file, &fields) {
            read(&credential);
        }
    }
});
