//! Bars that move while the webhooks travel.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

/// How often the bars are brought up to date.
const TICK: Duration = Duration::from_millis(40);

/// A bar: its name, its end, and what says how far it is.
pub struct Bar {
    name: &'static str,
    total: u64,
    count: Box<dyn Fn() -> u64 + Send>,
}

impl Bar {
    pub fn new(name: &'static str, total: u64, count: impl Fn() -> u64 + Send + 'static) -> Self {
        Self {
            name,
            total,
            count: Box::new(count),
        }
    }
}

/// Bars that follow their counts until it is finished.
pub struct Progress {
    bars: MultiProgress,
    ticker: JoinHandle<()>,
}

impl Progress {
    pub fn show(live: bool, bars: Vec<Bar>) -> Self {
        let target = if live {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let all = MultiProgress::with_draw_target(target);
        let bars: Vec<_> = bars
            .into_iter()
            .map(|bar| (all.add(drawn(&bar)), bar))
            .collect();
        let ticker = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(TICK);
            loop {
                ticks.tick().await;
                for (drawn, bar) in &bars {
                    drawn.set_position((bar.count)());
                }
            }
        });
        Self { bars: all, ticker }
    }

    /// Takes the bars away.
    pub async fn finish(self) {
        self.ticker.abort();
        // It ends at once; the only outcome is that it was aborted.
        let _ = self.ticker.await;
        let _ = self.bars.clear();
    }
}

fn drawn(bar: &Bar) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "  {prefix:10.bold}  {bar:40.cyan/black.bright}  {human_pos:>7} of {human_len}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
    .progress_chars("━╸━");
    // Hidden until it belongs to the others: alone it would draw itself at once.
    ProgressBar::with_draw_target(Some(bar.total), ProgressDrawTarget::hidden())
        .with_style(style)
        .with_prefix(bar.name)
}
