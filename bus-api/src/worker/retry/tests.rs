use super::*;
use crate::worker::error::Decide;

#[derive(Debug)]
struct Smtp(u16);

impl fmt::Display for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "smtp {}", self.0)
    }
}

impl StdError for Smtp {}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn policy() -> Retry {
    Retry::exponential(ms(200), ms(30_000))
        .jitter(Jitter::None)
        .dead_letter_if(|e: &Smtp| e.0 == 550)
        .unavailable_if(|e: &Smtp| e.0 == 421)
        .retry_if(|e: &Error| e.kind() == ErrorKind::TooLarge)
}

#[test]
fn errors_are_classified_by_type() {
    let bus = |kind| Error::new(kind, "x");
    let table: Vec<(HandlerError, Class)> = vec![
        ("text".into(), Class::Retry),
        (Smtp(550).into(), Class::DeadLetter),
        (Smtp(421).into(), Class::Unavailable),
        (Smtp(451).into(), Class::Retry),
        (io::Error::other(Smtp(550)).into(), Class::DeadLetter),
        (bus(ErrorKind::Unavailable).into(), Class::Unavailable),
        (bus(ErrorKind::Timeout).into(), Class::Unavailable),
        (bus(ErrorKind::Decode).into(), Class::DeadLetter),
        (bus(ErrorKind::Remote).into(), Class::DeadLetter),
        (
            bus(ErrorKind::Remote).retryable(true).into(),
            Class::Unavailable,
        ),
        (bus(ErrorKind::TooLarge).into(), Class::Retry),
        (bus(ErrorKind::Closed).into(), Class::Retry),
        (bus(ErrorKind::Canceled).into(), Class::Retry),
        (bus(ErrorKind::Fenced).into(), Class::Retry),
        (
            io::Error::from(io::ErrorKind::ConnectionRefused).into(),
            Class::Unavailable,
        ),
        (
            io::Error::from(io::ErrorKind::NotFound).into(),
            Class::Retry,
        ),
    ];
    for (error, expected) in table {
        assert_eq!(policy().classify(&error), expected, "{error:?}");
    }
}

#[test]
fn what_the_handler_decided_comes_before_the_policy() {
    let minute = ms(60_000);
    let fail = |error: HandlerResultOf| error.unwrap_err();
    for (attempt, error, expected) in [
        (
            1,
            fail(Err(Smtp(451)).or_dead_letter()),
            Decision::DeadLetter,
        ),
        (
            1,
            fail(Err(Smtp(550)).or_retry_after(minute)),
            Decision::Retry { after: minute },
        ),
        (
            5,
            fail(Err(Smtp(550)).or_retry_after(minute)),
            Decision::DeadLetter,
        ),
        (
            9,
            fail(Err(Smtp(550)).or_defer(minute)),
            Decision::Defer { after: minute },
        ),
        (1, Smtp(550).into(), Decision::DeadLetter),
        (1, Smtp(451).into(), Decision::Retry { after: ms(200) }),
        (4, Smtp(451).into(), Decision::Retry { after: ms(1_600) }),
        (5, Smtp(451).into(), Decision::DeadLetter),
    ] {
        assert_eq!(
            policy().decide(attempt, &error),
            expected,
            "{attempt} {error:?}"
        );
    }
}

type HandlerResultOf = crate::worker::error::HandlerResult<()>;

#[test]
fn the_delay_that_a_broker_asks_for_is_kept() {
    let error = Error::new(ErrorKind::Throttled, "full").retry_after(ms(5_000));
    assert_eq!(
        policy().decide(1, &error.into()),
        Decision::Retry { after: ms(5_000) }
    );
}

#[test]
fn delays_double_up_to_the_cap_and_jitter_stays_inside() {
    let retry = policy().attempts(u32::MAX);
    for (attempt, expected) in [
        (1, 200),
        (2, 400),
        (8, 25_600),
        (9, 30_000),
        (4_000, 30_000),
    ] {
        assert_eq!(retry.spread(attempt, 0), ms(expected));
        for chance in [0, 1, 12_345_678_901, u64::MAX] {
            let full = retry.clone().jitter(Jitter::Full).spread(attempt, chance);
            assert!(full <= ms(expected));
            let half = retry.clone().jitter(Jitter::Half).spread(attempt, chance);
            assert!(half >= ms(expected) / 2 && half <= ms(expected));
        }
    }
    let endless = Retry::exponential(Duration::MAX, Duration::MAX).jitter(Jitter::Full);
    assert!(endless.spread(9, u64::MAX) <= Duration::MAX);
    assert_eq!(
        Retry::exponential(Duration::ZERO, Duration::ZERO).spread(3, 7),
        Duration::ZERO
    );
}

#[test]
fn the_default_is_what_is_documented() {
    let retry = Retry::default();
    assert_eq!(
        (retry.base, retry.cap, retry.attempts, retry.jitter),
        (ms(200), ms(30_000), 5, Jitter::Full)
    );
    assert_eq!(Retry::never().max_attempts(), 1);
    assert_eq!(Retry::default().attempts(0).max_attempts(), 1);
}
