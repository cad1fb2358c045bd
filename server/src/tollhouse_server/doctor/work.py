"""Whether the work is done: what waits too long, what was given up, what time has overtaken."""

from ..unmapped_prices import HELD
from .checks import Check, Severity, rows

WORK = (
    Check(
        "inbox-waiting",
        Severity.WRONG,
        "An event of Stripe's has waited longer than ten minutes.",
        "See the errors in GET /v1/admin/events?state=deferred, and whether a worker works.",
        "inbox-backlog",
        rows("""
            SELECT event_id || ' (' || type || '), ' || attempts || ' attempts' || coalesce(': ' || left(error, 80), '')
            FROM inbox
            WHERE next_attempt_at IS NOT NULL AND received_at < now() - interval '10 minutes'
              -- One that was replayed just now is old and yet new.
              AND NOT (state = 'received' AND next_attempt_at > now() - interval '10 minutes')
            ORDER BY received_at
        """),
    ),
    Check(
        "events-buried",
        Severity.WRONG,
        "An event was given up: what it told of may not have happened here.",
        "Read its error, mend the cause, then `tollhouse replay EVENT`.",
        "buried-events",
        rows("SELECT event_id || ' (' || type || ')' FROM inbox WHERE state = 'buried' ORDER BY id"),
    ),
    Check(
        "corrections-given-up",
        Severity.WRONG,
        "What should have been ended at Stripe was not: somebody pays twice, or has a second trial.",
        "Read its error, mend the cause or do it in Stripe's dashboard, then `tollhouse correct CORRECTION`.",
        "corrections",
        rows("SELECT id || ' (' || kind || ' ' || subscription_id || ')' FROM correction WHERE state = 'given-up'"),
    ),
    Check(
        "corrections-waiting",
        Severity.WRONG,
        "A correction was due more than ten minutes ago and was not tried.",
        "Start a worker, or see in its log why it does not do them.",
        "service-down",
        rows("""
            SELECT id || ' (' || kind || ' ' || subscription_id || '), due ' || next_attempt_at
            FROM correction WHERE next_attempt_at < now() - interval '10 minutes' ORDER BY next_attempt_at
        """),
    ),
    Check(
        "leases-run-out",
        Severity.WARNING,
        "A worker stopped in the middle of an event, and nobody has taken it over.",
        "Start a worker: it takes over by itself.",
        "inbox-backlog",
        rows("""
            SELECT event_id || ', held until ' || lease_until FROM inbox
            WHERE next_attempt_at IS NOT NULL AND lease_until < now() - interval '1 minute' ORDER BY lease_until
        """),
    ),
    Check(
        "snapshots-overdue",
        Severity.WRONG,
        "Time or a new catalog has overtaken a customer's snapshot, and it was not refreshed.",
        "Start a worker. Checks are right all the same; apps that wait for a notification are not told.",
        "service-down",
        rows("""
            SELECT 'customer ' || s.customer_id || ', due ' || coalesce(s.next_change_at, c.published_at)
            FROM snapshot s JOIN project p ON p.id = s.project_id
            LEFT JOIN catalog c ON c.project_id = p.id AND c.version = p.catalog_version
            WHERE s.next_change_at < :now - interval '1 minute'
              OR (s.catalog_version < p.catalog_version AND c.published_at < :now - interval '10 minutes')
        """),
    ),
    Check(
        "periods-passed",
        Severity.WRONG,
        "A subscription that counts has a period that ended longer ago than its renewal may take: we missed an event.",
        "`tollhouse reconcile` reads Stripe again and says what was missed.",
        "drift",
        rows("""
            SELECT s.id || ' (' || s.status || '), until ' || s.ends
            FROM (
              SELECT id, project_id, status, (
                  SELECT max((item ->> 'current_period_end')::timestamptz)
                  FROM jsonb_array_elements(evidence -> 'items') AS item
                ) AS ends
              FROM subscription WHERE status IN ('active', 'trialing')
            ) s
            JOIN project p ON p.id = s.project_id
            LEFT JOIN catalog c ON c.project_id = p.id AND c.version = p.catalog_version
            WHERE s.ends < :now - interval '1 day' * coalesce((c.document #>> '{policy,renewal_leeway_days}')::int, 3)
        """),
    ),
    Check(
        "live-of-a-deleted-customer",
        Severity.WRONG,
        "A subscription counts as live though its customer was deleted at Stripe.",
        "`tollhouse reconcile` reads Stripe again; where it stays, look the subscription up in Stripe's dashboard.",
        "drift",
        rows("""
            SELECT s.id || ' (' || s.status || ')' FROM subscription s JOIN customer c ON c.id = s.customer_id
            WHERE s.status NOT IN ('canceled', 'incomplete_expired') AND c.stripe_customer_id IS NULL
        """),
    ),
    Check(
        "prices-unmapped",
        Severity.WARNING,
        "Customers hold a Stripe price that no product of their project's catalog counts: it opens nothing for them.",
        "`tollhouse catalog unmapped` lists them: name each in `stripe_prices` of the product that it stands for.",
        "unmapped-prices",
        rows(f"""
            SELECT p.slug || ' ' || u.price || ', ' || count(DISTINCT u.customer_id) || ' customers'
            FROM ({HELD}) u JOIN project p ON p.id = u.project_id GROUP BY p.slug, u.price
        """),  # noqa: S608 - written in this service
    ),
    Check(
        "checkouts-half-open",
        Severity.WARNING,
        "A checkout was begun longer than ten minutes ago and never opened at Stripe.",
        "The app's next request goes on with it; see the logs for why it stopped, Stripe's errors above all.",
        "stripe-outage",
        rows("""
            SELECT id || ', since ' || created_at FROM checkout
            WHERE state = 'opening' AND created_at < :now - interval '10 minutes' AND expires_at > :now
            ORDER BY created_at
        """),
    ),
    Check(
        "notifications-waiting",
        Severity.WRONG,
        "A notification to an app was due more than ten minutes ago and was not tried.",
        "Start a worker, or see in its log why it does not send.",
        "service-down",
        rows("""
            SELECT d.message_id || ' to ' || d.endpoint_id || ', due ' || d.next_attempt_at
            FROM delivery d JOIN notification_endpoint e ON e.id = d.endpoint_id
            WHERE d.next_attempt_at < now() - interval '10 minutes' AND e.disabled_at IS NULL
              -- Behind an earlier version that waits for its next attempt, it is not due yet.
              AND NOT EXISTS (
                SELECT FROM delivery earlier WHERE earlier.endpoint_id = d.endpoint_id
                  AND earlier.customer_id = d.customer_id AND earlier.version < d.version
                  AND earlier.next_attempt_at IS NOT NULL
              )
            ORDER BY d.next_attempt_at
        """),
    ),
    Check(
        "notifications-disabled",
        Severity.WARNING,
        "An app's notification endpoint was disabled: the app is not told of changes, and learns of them when it asks.",
        "Have the app mended, enable the endpoint, and resend what it missed.",
        None,
        rows("""
            SELECT p.slug || ' ' || e.id || ', since ' || e.disabled_at || ': ' || left(e.disabled_because, 80)
            FROM notification_endpoint e JOIN project p ON p.id = e.project_id
            WHERE e.disabled_at IS NOT NULL ORDER BY e.disabled_at
        """),
    ),
)
