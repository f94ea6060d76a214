//! Cases that compare the bus with a small reference: random programs of publishing, joining, leaving,
//! taking, settling, dying, redriving and resetting, every delivery of which the reference must have
//! expected.
//!
//! A program that fails is made smaller before it is reported; the seed of the case makes the same
//! programs again.

mod interpreter;
mod program;
mod reference;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand::RngCore;

use crate::case::{Case, case};
use crate::context::Context;
use crate::factory::Control;
use crate::model::interpreter::Interpreter;
use crate::model::program::{Mix, Step, programs};
use crate::outcome::Violation;
use crate::probe::secs;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    let crash: &[Control] = &[Control::Kill];
    let cases = vec![
        case!(s3_model_members_come_and_go),
        case!(a3_model_nacks_and_drops),
        case!(r6_model_dead_letters_and_redrives),
        case!(s8_model_resets),
        case!(a6_model_deaths).with(crash),
        case!(a7_model_everything).with(crash),
    ];
    // On a virtual clock time passes while a program waits; on a real one this is never reached.
    cases
        .into_iter()
        .map(|case| case.within(secs(36_000)))
        .collect()
}

async fn s3_model_members_come_and_go(context: Context) -> Result<(), Violation> {
    compare(&context, Mix::default()).await
}

async fn a3_model_nacks_and_drops(context: Context) -> Result<(), Violation> {
    let failures = true;
    compare(
        &context,
        Mix {
            failures,
            ..Mix::default()
        },
    )
    .await
}

async fn r6_model_dead_letters_and_redrives(context: Context) -> Result<(), Violation> {
    let (failures, redrives) = (true, true);
    compare(
        &context,
        Mix {
            failures,
            redrives,
            ..Mix::default()
        },
    )
    .await
}

async fn s8_model_resets(context: Context) -> Result<(), Violation> {
    let (failures, resets) = (true, true);
    compare(
        &context,
        Mix {
            failures,
            resets,
            ..Mix::default()
        },
    )
    .await
}

async fn a6_model_deaths(context: Context) -> Result<(), Violation> {
    let crashes = true;
    compare(
        &context,
        Mix {
            crashes,
            ..Mix::default()
        },
    )
    .await
}

async fn a7_model_everything(context: Context) -> Result<(), Violation> {
    let all = Mix {
        failures: true,
        crashes: true,
        redrives: true,
        resets: true,
    };
    compare(&context, all).await
}

/// Most executions that are spent on making a failed program smaller.
const SHRINKING: usize = 200;

/// Runs random programs, as many and as long as the time of the factory's clock allows.
async fn compare(context: &Context, mix: Mix) -> Result<(), Violation> {
    let (count, length) = if context.factory().virtual_time() {
        (24, 60)
    } else {
        (3, 30)
    };
    let operator = context.client().await?;
    let mut seed = [0; 32];
    context.random().fill_bytes(&mut seed);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let programs = programs(mix, length);
    let mut run = 0;
    for _ in 0..count {
        let mut tree = programs.new_tree(&mut runner).map_err(Violation::new)?;
        let program = tree.current();
        run += 1;
        let Err(violation) = Interpreter::new(context, &operator, run)
            .execute(&program)
            .await
        else {
            continue;
        };
        let mut smallest = (program, violation);
        let mut smaller = tree.simplify();
        for _ in 0..SHRINKING {
            if !smaller {
                break;
            }
            let program = tree.current();
            run += 1;
            let again = Interpreter::new(context, &operator, run)
                .execute(&program)
                .await;
            smaller = match again {
                Err(violation) => {
                    smallest = (program, violation);
                    tree.simplify()
                }
                Ok(()) => tree.complicate(),
            };
        }
        let (program, violation) = smallest;
        return Err(violation.because(format_args!("the program was {}", listing(&program))));
    }
    Ok(())
}

fn listing(program: &[Step]) -> String {
    let steps: Vec<String> = program
        .iter()
        .enumerate()
        .map(|(index, step)| format!("\n  {index}: {step:?}"))
        .collect();
    steps.concat()
}
