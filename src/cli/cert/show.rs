//! `fieldgate cert show`: what the certificates of the configuration say, and whether their keys fit.

use serde_json::{Value, json};

use super::identity::Identity;
use crate::cli::words::{counted, date, shown};
use crate::clock::WallTime;
use crate::net::{Described, TlsError, check_pair};

const DAY_MILLIS: u64 = 86_400_000;

/// One identity as it was found.
#[derive(Debug)]
pub(super) struct Found<'a> {
    identity: &'a Identity,
    /// The certificate and those behind it.
    chain: Result<Vec<Described>, TlsError>,
    /// Whether the key is that of the certificate.
    pair: Result<(), TlsError>,
    trusts: Option<Result<Vec<Described>, TlsError>>,
}

impl<'a> Found<'a> {
    /// Reads its files.
    pub(super) fn read(identity: &'a Identity) -> Self {
        Self {
            identity,
            chain: Described::read(&identity.certificate),
            pair: check_pair(&identity.certificate, &identity.private_key),
            trusts: identity.trusts.as_deref().map(Described::read),
        }
    }

    /// Whether others can be expected to believe it.
    pub(super) fn is_well(&self, now: WallTime) -> bool {
        let chain = self.chain.as_deref().unwrap_or_default();
        let is_valid = |it: &Described| it.from <= now && now < it.to;
        !chain.is_empty() && self.pair.is_ok() && chain.iter().all(is_valid)
    }

    pub(super) fn lines(&self, now: WallTime) -> Vec<String> {
        let identity = self.identity;
        let mut lines = vec![format!(
            "{}: {}",
            shown(&identity.users()),
            identity.certificate.display()
        )];
        let mut add = |name: &str, text: &str| lines.push(format!("  {name:<8} {text}"));
        match self.chain.as_deref() {
            Ok([first, rest @ ..]) => {
                add("subject", &shown(&first.subject));
                add("issuer", &shown(&first.issuer));
                if !first.names.is_empty() {
                    add("names", &shown(&first.names.join(", ")));
                }
                add("valid", &validity(first, now));
                add("sha256", &first.sha256);
                for above in rest {
                    let told = format!("{}, {}", shown(&above.subject), validity(above, now));
                    add("chain", &told);
                }
            }
            Ok([]) => {}
            Err(fault) => add("FAULT", &fault.to_string()),
        }
        match (&self.chain, &self.pair) {
            (Ok(_), Ok(())) => add("key", &format!("{} fits", identity.private_key.display())),
            (Ok(_), Err(fault)) => add("FAULT", &fault.to_string()),
            (Err(_), _) => {}
        }
        if let Some(trusts) = &self.trusts {
            add("trusts", &trusted(trusts, now));
        }
        lines
    }

    pub(super) fn json(&self, now: WallTime) -> Value {
        let faults = [self.chain.as_ref().err(), self.pair.as_ref().err()];
        let mut faults: Vec<_> = faults
            .into_iter()
            .flatten()
            .map(ToString::to_string)
            .collect();
        faults.dedup();
        let chain = self.chain.as_deref().unwrap_or_default().iter();
        let chain = chain.map(|it| {
            json!({
                "subject": it.subject, "issuer": it.issuer, "names": it.names,
                "not_before": it.from, "not_after": it.to, "sha256": it.sha256,
                "days_left": it.to.millis_since(now) / DAY_MILLIS,
            })
        });
        json!({
            "used_by": self.identity.used_by,
            "certificate": self.identity.certificate,
            "private_key": self.identity.private_key,
            "key_fits": self.pair.is_ok(),
            "chain": chain.collect::<Vec<_>>(),
            "faults": faults,
        })
    }
}

fn validity(certificate: &Described, now: WallTime) -> String {
    let Described { from, to, .. } = *certificate;
    let left = if !now.is_plausible() {
        "the clock is not set".to_owned()
    } else if now < from {
        "NOT YET".to_owned()
    } else if to <= now {
        "EXPIRED".to_owned()
    } else {
        let days = to.millis_since(now) / DAY_MILLIS;
        format!("{} left", counted(days, "day"))
    };
    format!("{} to {} ({left})", date(from), date(to))
}

fn trusted(anchors: &Result<Vec<Described>, TlsError>, now: WallTime) -> String {
    match anchors.as_deref() {
        Ok([only]) => format!("{}, {}", shown(&only.subject), validity(only, now)),
        Ok(all) => counted(all.len() as u64, "authority").replace("ys", "ies"),
        Err(fault) => fault.to_string(),
    }
}
