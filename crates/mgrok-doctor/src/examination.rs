//! Checks in their order, each under a deadline.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::outcome::{Fault, Outcome, Row, Verdict};
use crate::report::Report;

/// How long one check may take.
pub const MAX_STEP: Duration = Duration::from_secs(5);
/// How long all of them may take together; what is left then is skipped.
pub const MAX_TOTAL: Duration = Duration::from_secs(90);

/// How long a check may wait for one thing: less than all of its time, so that it can say what did not come.
pub const PATIENCE: Duration = Duration::from_secs(4);

/// How many checks of one kind are made at a time.
const AT_A_TIME: usize = 32;

/// Why a check is not made once all have taken as long as they may.
pub const NO_TIME: &str = "no time was left";

/// The name of the check that has not passed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unmet(pub &'static str);

/// What an earlier check has passed on, or which one has not passed.
pub type Passed<T> = Result<T, Unmet>;

/// Makes checks, and tells of each.
pub struct Examination<'a> {
    rows: Vec<Row>,
    tell: Box<dyn FnMut(&Row) + 'a>,
    /// Where the rows begin that are not told yet; `None` if each is told at once.
    kept_from: Option<usize>,
    deadline: Instant,
}

impl fmt::Debug for Examination<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Examination")
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl<'a> Examination<'a> {
    /// Begins one, the time of which runs from now on. `tell` is called for every check once it is over.
    pub fn new(tell: impl FnMut(&Row) + 'a) -> Self {
        Self {
            rows: Vec::new(),
            tell: Box::new(tell),
            kept_from: None,
            deadline: Instant::now() + MAX_TOTAL,
        }
    }

    /// Makes a check, if what it needs has passed, and returns what it passes on.
    pub async fn check<N, T>(
        &mut self,
        check: &'static str,
        subject: &str,
        need: Passed<N>,
        work: impl AsyncFnOnce(N) -> Verdict<T>,
    ) -> Passed<T> {
        let need = match need {
            Ok(need) => need,
            Err(unmet) => return self.skip(check, subject, unmet),
        };
        let now = Instant::now();
        if now >= self.deadline {
            self.leave_out(check, subject, NO_TIME);
            return Err(Unmet(check));
        }
        let until = self.deadline.min(now + MAX_STEP);
        let verdict = timeout_at(until, work(need)).await;
        self.note(check, subject, verdict.unwrap_or_else(|_| Err(late())))
    }

    /// Makes the same check of many subjects, several at a time, and returns which of them have passed.
    pub async fn check_each<F>(
        &mut self,
        check: &'static str,
        subjects: impl IntoIterator<Item = (String, F)>,
    ) -> Vec<Passed<()>>
    where
        F: Future<Output = Verdict<()>> + Send + 'static,
    {
        let (subjects, works): (Vec<_>, Vec<_>) = subjects.into_iter().unzip();
        let verdicts = self.try_each(works).await;
        let noted = subjects
            .iter()
            .zip(verdicts)
            .map(|(subject, verdict)| match verdict {
                Some(verdict) => self.note(check, subject, verdict),
                None => {
                    self.leave_out(check, subject, NO_TIME);
                    Err(Unmet(check))
                }
            });
        noted.collect()
    }

    /// Does all of `works`, several at a time, each as long as a check may take, and tells of none. `None` is what there was no time for.
    pub async fn try_each<F>(&self, works: Vec<F>) -> Vec<Option<Verdict<()>>>
    where
        F: Future<Output = Verdict<()>> + Send + 'static,
    {
        let turns = Arc::new(Semaphore::new(AT_A_TIME));
        let deadline = self.deadline;
        let mut verdicts: Vec<_> = works.iter().map(|_| None).collect();
        let mut running = JoinSet::new();
        for (place, work) in works.into_iter().enumerate() {
            let turns = turns.clone();
            running.spawn(async move {
                // Never closed, so that there is always a turn to come.
                let _turn = turns.acquire().await;
                let now = Instant::now();
                if now >= deadline {
                    return (place, None);
                }
                let until = deadline.min(now + MAX_STEP);
                let verdict = timeout_at(until, work).await;
                (place, Some(verdict.unwrap_or_else(|_| Err(late()))))
            });
        }
        while let Some(ended) = running.join_next().await {
            // One that panicked has left its place empty.
            if let Ok((place, verdict)) = ended {
                verdicts[place] = verdict;
            }
        }
        verdicts
    }

    /// When all of it has to be over.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes note of what a check has come to.
    pub fn note<T>(
        &mut self,
        check: &'static str,
        subject: &str,
        verdict: Verdict<T>,
    ) -> Passed<T> {
        let (outcome, value) = Outcome::of(verdict);
        self.push(check, subject, outcome);
        value.ok_or(Unmet(check))
    }

    /// Takes note of a check that cannot be made without another.
    pub fn skip<T>(&mut self, check: &'static str, subject: &str, unmet: Unmet) -> Passed<T> {
        let because = format!("needs \"{}\"", unmet.0);
        self.push(check, subject, Outcome::Skipped { because });
        Err(unmet)
    }

    /// Takes note of a check that is not made, and why.
    pub fn leave_out(&mut self, check: &'static str, subject: &str, because: impl fmt::Display) {
        let because = because.to_string();
        self.push(check, subject, Outcome::Skipped { because });
    }

    /// From here on several things are tried of which one is enough.
    pub fn begin_choice(&mut self) {
        self.kept_from = Some(self.rows.len());
    }

    /// All of them were tried. If one of them works, what is broken in the others is only worth a warning.
    pub fn end_choice(&mut self, one_works: bool) {
        let Some(begin) = self.kept_from.take() else {
            return;
        };
        for row in &mut self.rows[begin..] {
            if one_works {
                let unused = Outcome::Skipped {
                    because: String::new(),
                };
                row.outcome = std::mem::replace(&mut row.outcome, unused).excused();
            }
            (self.tell)(row);
        }
    }

    /// What was found.
    pub fn finish(mut self) -> Report {
        self.end_choice(false);
        Report { rows: self.rows }
    }

    fn push(&mut self, check: &'static str, subject: &str, outcome: Outcome) {
        let row = Row {
            check,
            subject: subject.to_owned(),
            outcome,
        };
        if self.kept_from.is_none() {
            (self.tell)(&row);
        }
        self.rows.push(row);
    }
}

fn late() -> Fault {
    Fault::new(
        format_args!("no result within {} s", MAX_STEP.as_secs()),
        "try again; if it stays so, something on the way swallows packets, or this host is overloaded",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Sound;

    fn words(rows: &[Row]) -> Vec<(&str, &str)> {
        rows.iter()
            .map(|it| (it.check, it.outcome.word()))
            .collect()
    }

    #[tokio::test]
    async fn a_check_without_what_it_needs_is_skipped_and_names_the_first_that_failed() {
        let mut examination = Examination::new(|_| {});
        let dns = examination
            .check("dns", "a", Ok(()), async |()| Ok(Sound::good(7, "found")))
            .await;
        assert_eq!(dns, Ok(7));
        let tcp: Passed<u8> = examination
            .check("tcp", "a", dns, async |_| {
                Err(Fault::new("refused", "start it"))
            })
            .await;
        let tls: Passed<u8> = examination
            .check("tls", "a", tcp, async |_| Ok(Sound::good(1, "")))
            .await;
        let login: Passed<()> = examination
            .check("login", "a", tls, async |_| Ok(Sound::good((), "")))
            .await;
        assert_eq!(login, Err(Unmet("tcp")));
        let report = examination.finish();
        let expect = [
            ("dns", "ok"),
            ("tcp", "failed"),
            ("tls", "skipped"),
            ("login", "skipped"),
        ];
        assert_eq!(words(&report.rows), expect);
        let because = "needs \"tcp\"".to_owned();
        assert_eq!(report.rows[3].outcome, Outcome::Skipped { because });
        assert_eq!((report.exit_code(), report.failed()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_takes_too_long_fails() {
        let began = Instant::now();
        let mut examination = Examination::new(|_| {});
        let never: Passed<()> = examination
            .check("tcp", "", Ok(()), async |()| std::future::pending().await)
            .await;
        assert_eq!((never, began.elapsed()), (Err(Unmet("tcp")), MAX_STEP));
    }

    #[tokio::test(start_paused = true)]
    async fn all_together_take_no_longer_than_they_may() {
        let began = Instant::now();
        let mut examination = Examination::new(|_| {});
        let each = (0..2000).map(|it| {
            let never = async { std::future::pending::<Verdict<()>>().await };
            (it.to_string(), never)
        });
        examination.check_each("local", each).await;
        let after: Passed<()> = examination
            .check("public", "", Ok(()), async |()| Ok(Sound::good((), "")))
            .await;
        assert_eq!(after, Err(Unmet("public")));
        assert_eq!(began.elapsed(), MAX_TOTAL);
        let report = examination.finish();
        assert_eq!(report.rows.len(), 2001);
        for word in ["failed", "skipped"] {
            let local = &report.rows[..2000];
            assert!(local.iter().any(|it| it.outcome.word() == word), "{word}");
        }
        assert_eq!(report.rows[2000].outcome.word(), "skipped");
    }

    #[test]
    fn what_another_does_instead_is_only_a_warning() {
        for (one_works, word) in [(true, "warning"), (false, "failed")] {
            let mut told = Vec::new();
            let mut examination = Examination::new(|row| told.push(row.outcome.word()));
            examination.begin_choice();
            let fault: Verdict<()> = Err(Fault::new("silent", "open UDP"));
            let _ = examination.note("udp", "quic", fault);
            let _ = examination.note("tcp", "tcp", Ok(Sound::good((), "")));
            examination.end_choice(one_works);
            let report = examination.finish();
            assert_eq!(report.rows[0].outcome.word(), word);
            assert_eq!(report.is_good(), one_works);
            assert_eq!(told, [word, "ok"]);
        }
    }
}
