//! What is measured, in order.

use crate::bench::traffic::Audience;

/// How a scenario goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Course {
    /// Post as fast as answers come.
    Closed,
    /// Post at this share of the rate another scenario reached.
    Share {
        /// Whose rate.
        of: &'static str,
        /// From 0 to 1.
        share: f64,
    },
    /// Pause all lanes, post everything, resume; only what follows is measured.
    Drain,
    /// Pause all lanes, post everything, stop and start the relay; measured until it is drained.
    Restart,
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scenario {
    /// Its name in arguments and reports.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// How it goes.
    pub course: Course,
    /// Messages of the standard suite.
    pub messages: u64,
    /// Messages in one request.
    pub per_request: u64,
    /// Connections at a time.
    pub connections: usize,
    /// Receivers of one message; more than one is a group of mixed people.
    pub receivers: u64,
    /// Bytes of the text.
    pub text_bytes: usize,
    /// Share of requests that are repeats.
    pub repeats: f64,
}

/// Bytes of a usual text.
pub const TEXT_BYTES: usize = 60;

/// Messages of `--quick` are these parts of the standard suite's.
const QUICK_DIVISOR: u64 = 5;

const USUAL: Scenario = Scenario {
    name: "batch100",
    about: "one-to-one, 100 a request",
    course: Course::Closed,
    messages: 200_000,
    per_request: 100,
    connections: 8,
    receivers: 1,
    text_bytes: TEXT_BYTES,
    repeats: 0.0,
};

/// The standard suite.
pub const ALL: [Scenario; 10] = [
    USUAL,
    Scenario {
        name: "single",
        about: "one-to-one, one a request, kept-alive connections",
        messages: 100_000,
        per_request: 1,
        connections: 64,
        ..USUAL
    },
    Scenario {
        name: "batch100_half",
        about: "open loop, half of batch100's rate",
        course: Course::Share { of: "batch100", share: 0.5 },
        messages: 100_000,
        connections: 32,
        ..USUAL
    },
    Scenario {
        name: "single_half",
        about: "open loop, half of single's rate",
        course: Course::Share { of: "single", share: 0.5 },
        messages: 50_000,
        per_request: 1,
        connections: 256,
        ..USUAL
    },
    Scenario {
        name: "repeats",
        about: "every third request is a repeat",
        messages: 100_000,
        repeats: 1.0 / 3.0,
        ..USUAL
    },
    Scenario {
        name: "long_text",
        about: "texts of 1,500 bytes",
        messages: 50_000,
        text_bytes: 1_500,
        ..USUAL
    },
    Scenario {
        name: "group500",
        about: "groups of 500 receivers at 5 vendors",
        messages: 400,
        per_request: 1,
        connections: 8,
        receivers: 500,
        ..USUAL
    },
    Scenario {
        name: "drain",
        about: "a queued backlog goes out",
        course: Course::Drain,
        messages: 100_000,
        ..USUAL
    },
    Scenario {
        name: "restart",
        about: "start with a queued backlog",
        course: Course::Restart,
        messages: 100_000,
        ..USUAL
    },
    Scenario { name: "soak", about: "as batch100, for long runs", messages: 5_000_000, ..USUAL },
];

/// A question that takes more than one load of one relay to answer. Each runs only when named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Study {
    /// What healthy lanes notice of a vendor that stalls and of a certificate that is refused.
    Isolation,
    /// How the CPU of a message grows with devices and certificates.
    Growth,
    /// Starting with millions of parcels queued.
    Reopen,
    /// `kill -9` under load, again and again.
    Crash,
}

impl Study {
    /// Every study, in the order in which they run.
    pub const ALL: [Study; 4] = [Study::Isolation, Study::Growth, Study::Reopen, Study::Crash];

    /// Its name in arguments and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Study::Isolation => "isolation",
            Study::Growth => "growth",
            Study::Reopen => "reopen",
            Study::Crash => "crash",
        }
    }
}

impl Scenario {
    /// The usual one-to-one load.
    pub const USUAL: Scenario = USUAL;

    /// Who receives.
    pub fn audience(&self) -> Audience {
        if self.receivers > 1 { Audience::Mixed(self.receivers) } else { Audience::One }
    }

    /// Whether it runs when no scenario is named.
    pub fn is_standard(&self) -> bool {
        self.name != "soak"
    }

    /// The same, shorter.
    pub fn quick(self) -> Scenario {
        Scenario { messages: (self.messages / QUICK_DIVISOR).max(1), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_refers_to_a_scenario_that_ran_before() {
        for (index, scenario) in ALL.iter().enumerate() {
            if let Course::Share { of, .. } = scenario.course {
                assert!(ALL[..index].iter().any(|earlier| earlier.name == of), "{of}");
            }
        }
    }
}
