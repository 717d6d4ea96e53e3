//! What a lane that does not run does to the pushes in it.
//!
//! Lanes belong to a higher floor: whoever asks for an explanation tells how they do.

use serde::Serialize;

use crate::model::id::CertId;

/// Why a lane sends nothing now; a lane that runs has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Halt {
    /// Its certificate.
    #[serde(skip)]
    pub cert_id: CertId,
    /// Its condition, as lanes are shown to operators.
    pub condition: &'static str,
    /// Seconds until it goes on by itself.
    pub resumes_in_s: Option<u64>,
    /// Why its breaker is open or its certificate broken, in the vendor's or the network's words.
    pub why: Option<String>,
}

impl Halt {
    /// Whether it goes on only after a person did something.
    pub fn needs_a_person(&self) -> bool {
        !matches!(self.condition, "slowed" | "breaker_open")
    }

    /// What it waits for and what a person could do, in one clause.
    pub fn advice(&self) -> String {
        let cert_id = self.cert_id;
        let why = self.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        let then = match self.resumes_in_s {
            Some(seconds) => format!("tried again in {seconds} s"),
            None => "it is being tried again".to_owned(),
        };
        match self.condition {
            "paused" => format!("the lane of certificate {cert_id} is paused; resume it"),
            "slowed" => {
                format!("the vendor asked certificate {cert_id} to send more slowly; {then}")
            }
            "breaker_open" => {
                format!("the vendor of certificate {cert_id} does not answer{why}; {then}")
            }
            "certificate_expired" => format!(
                "certificate {cert_id} has expired; upload a new one under the same id, do not \
                 delete it"
            ),
            "certificate_broken" => format!(
                "certificate {cert_id} is broken{why}; verify it and upload a new secret under \
                 the same id"
            ),
            other => format!("the lane of certificate {cert_id} does not run ({other})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halt(condition: &'static str, resumes_in_s: Option<u64>, why: Option<&str>) -> Halt {
        Halt { cert_id: CertId(3), condition, resumes_in_s, why: why.map(str::to_owned) }
    }

    #[test]
    fn each_condition_says_what_is_waited_for_and_who_has_to_act() {
        let paused = halt("paused", None, None);
        assert_eq!(paused.advice(), "the lane of certificate 3 is paused; resume it");
        assert!(paused.needs_a_person());
        let open = halt("breaker_open", Some(7), Some("503 busy"));
        let words = "the vendor of certificate 3 does not answer (503 busy); tried again in 7 s";
        assert_eq!(open.advice(), words);
        assert!(!open.needs_a_person());
        assert!(halt("breaker_open", None, None).advice().ends_with("being tried again"));
        assert!(!halt("slowed", Some(1), None).needs_a_person());
        let broken = halt("certificate_broken", None, Some("InvalidProviderToken"));
        assert!(broken.needs_a_person() && broken.advice().contains("(InvalidProviderToken)"));
        assert!(halt("certificate_expired", None, None).advice().contains("has expired"));
    }
}
