//! A3: what must not put off a nack.

use bus_api::{Delivery, Inbound, Inflow, Scope, Settlement, Start, SubscriptionSpec};
use tokio::time::Instant;

use crate::case::{Case, case};
use crate::context::Context;
use crate::outcome::{Violation, ensure};
use crate::probe::{Inbox, Note, Token, ack_all, eventually, group, ms, notes, secs, within};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(a3_removing_what_is_settled_delays_no_nack),
        case!(a3_a_renewal_on_its_way_delays_no_nack),
    ]
}

/// While nobody asks for more, a message that was nacked is about to come again; meanwhile others are removed because
/// everybody has settled them. It still comes as soon as there is room, not when a lease has ended.
async fn a3_removing_what_is_settled_delays_no_nack(context: Context) -> Result<(), Violation> {
    let client = context.client_with(&[("retention", "settled")]).await?;
    let mut slow = client.join(group("slow", "k.a").in_flight(2)).await?;
    let mut other = client.join(group("other", "k.a")).await?;
    for note in notes("k.a", 0..40) {
        client.publish(&note).await?;
    }
    let mut removed = other.hold(40).await?;
    removed.sort_by_key(Token::number);
    let kept = removed.split_off(1);
    // Messages come in any order, though mostly in the one in which they were published.
    while settle_next(&mut slow).await? != 0 {}
    let (nacked, held) = (slow.next().await?, slow.next().await?);
    let number = nacked.number();
    nacked.nack_after(ms(300)).await?;
    let second = slow.next().await?;
    slow.quiet_for(ms(600)).await?;
    ack_all(removed).await?;
    let mut looker = 0;
    eventually("what all have settled is gone", async || {
        looker += 1;
        let mut inbox = client.join(group(&format!("look-{looker}"), "k.a")).await?;
        let first = inbox.hold(39).await?;
        let gone = first.iter().all(|token| token.number() != 0);
        ack_all(first).await?;
        inbox.leave().await?;
        Ok(gone)
    })
    .await?;
    let free = Instant::now();
    ack_all([held, second]).await?;
    loop {
        let token = slow.next().await?;
        let came = token.number();
        token.ack().await?;
        if came == number {
            break;
        }
    }
    // Far less than the lease.
    ensure!(
        free.elapsed() < secs(10),
        "it came {:?} after there was room",
        free.elapsed()
    );
    ack_all(kept).await
}

/// Takes and acks one message; says which.
async fn settle_next(inbox: &mut Inbox) -> Result<u64, Violation> {
    let token = inbox.next().await?;
    let number = token.number();
    token.ack().await?;
    Ok(number)
}

/// A member renews what it holds until it knows that it was returned. A renewal that is on its way behind a nack
/// must not put off what the nack asked for.
async fn a3_a_renewal_on_its_way_delays_no_nack(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let id = group("g", "a.b").id()?;
    let spec = SubscriptionSpec {
        start: Start::Earliest,
        ..SubscriptionSpec::new(Scope::Group(id.group), id.pattern)
    };
    let mut inbound = client.connection.bus.subscribe(spec).await?;
    client.publish(&Note::new("a.b", 1)).await?;
    for _ in 0..3 {
        let delivery = delivery(&mut inbound).await?;
        let receipt = delivery.receipt;
        let nack = Settlement::Requeue {
            after: ms(200),
            record: None,
        };
        let renewed = [receipt];
        let (settled, _) = tokio::join!(
            inbound.settler.settle(vec![(receipt, nack)]),
            inbound.settler.extend(&renewed)
        );
        for settled in settled {
            settled?;
        }
    }
    let last = delivery(&mut inbound).await?;
    for settled in inbound
        .settler
        .settle(vec![(last.receipt, Settlement::Ack)])
        .await
    {
        settled?;
    }
    inbound.settler.leave(Instant::now() + secs(5)).await?;
    Ok(())
}

/// The next delivery, well before the lease of an earlier one ends.
async fn delivery(inbound: &mut Inbound) -> Result<Delivery, Violation> {
    loop {
        let inflow = within(secs(10), "a delivery", inbound.receiver.receive(1)).await??;
        if let Inflow::Deliveries(deliveries) = inflow
            && let Some(delivery) = deliveries.into_iter().next()
        {
            return Ok(delivery);
        }
    }
}
