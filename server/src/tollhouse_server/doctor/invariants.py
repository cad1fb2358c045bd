"""What the service promises of its own rows, as SQL: true at every instant, and at the end of every test."""

from .checks import Check, Severity, rows

INVARIANTS = (
    Check(
        "versions-audited",
        Severity.WRONG,
        "A customer's versions and the audit entries of its entitlements do not correspond.",
        "Somebody changed rows by hand, or an old backup was mixed with newer rows: run `tollhouse audit verify`.",
        "restore",
        rows("""
            SELECT 'customer ' || c.id || ': version ' || c.version || ', audit entries ' || coalesce(a.entries, 0)
            FROM customer c LEFT JOIN (
              SELECT customer_id, count(*) AS entries FROM audit WHERE action = 'entitlements.changed' GROUP BY 1
            ) a ON a.customer_id = c.id
            WHERE c.version & :changes <> coalesce(a.entries, 0)
        """),
    ),
    Check(
        "snapshot-version",
        Severity.WRONG,
        "A stored snapshot is not of its customer's version.",
        "Somebody changed rows by hand, or an old backup was mixed with newer rows: run `tollhouse audit verify`.",
        "restore",
        rows("""
            SELECT 'customer ' || c.id || ': version ' || c.version || ', snapshot ' || coalesce(s.version, 0)
            FROM customer c LEFT JOIN snapshot s ON s.customer_id = c.id
            WHERE CASE WHEN s.version IS NULL THEN c.version & :changes <> 0 ELSE c.version <> s.version END
        """),
    ),
    Check(
        "rows-of-another-project",
        Severity.WRONG,
        "A row is of another project than the customer it belongs to.",
        "A project may see another's data: stop writing by hand, and set the row's project_id right.",
        "leaked-key",
        rows("""
            SELECT rows.kind || ' ' || rows.id FROM (
              SELECT 'subscription' AS kind, id, project_id, customer_id FROM subscription
              UNION ALL SELECT 'purchase', id, project_id, customer_id FROM purchase
              UNION ALL SELECT 'grant', id, project_id, customer_id FROM access_grant
              UNION ALL SELECT 'checkout', id, project_id, customer_id FROM checkout
              UNION ALL SELECT 'correction', id, project_id, customer_id FROM correction
              UNION ALL SELECT 'snapshot', user_id, project_id, customer_id FROM snapshot
              UNION ALL SELECT 'bundle of', source_customer_id::text, project_id, customer_id FROM bundled
              UNION ALL SELECT 'audit entry', id::text, project_id, customer_id FROM audit
            ) rows JOIN customer c ON c.id = rows.customer_id
            WHERE rows.project_id IS DISTINCT FROM c.project_id
        """),
    ),
    Check(
        "entries-unsealed",
        Severity.WRONG,
        "One of the newest audit entries is in no place of its hash chain.",
        "It was put in past the trigger that seals: find out who may do that, and run `tollhouse audit verify`.",
        "restore",
        rows("""
            SELECT 'audit entry ' || a.id || ' by ' || a.actor
            FROM audit a LEFT JOIN audit_seal s
              ON s.audit_id = a.id AND s.project_id IS NOT DISTINCT FROM a.project_id
            WHERE a.id > (SELECT max(id) FROM audit) - 10000 AND s.audit_id IS NULL
        """),
    ),
    Check(
        "two-subscriptions",
        Severity.WRONG,
        "A customer has two subscriptions that Stripe may bill for plans that exclude each other.",
        "Tollhouse sells none like that. `tollhouse corrections` lists them; `tollhouse correct` ends the newer.",
        "corrections",
        rows("""
            SELECT 'customer ' || customer_id || ', ' || plan || ': ' || string_agg(DISTINCT id, ', ')
            FROM (
              SELECT s.customer_id, s.id, coalesce(
                  'plan group ' || (c.document #>> ARRAY['products', p.product, 'plan_group']),
                  'product ' || p.product
                ) AS plan
              FROM subscription s
              CROSS JOIN LATERAL jsonb_array_elements(s.evidence -> 'items') AS item
              JOIN price p ON p.stripe_price_id = item ->> 'stripe_price' AND p.project_id = s.project_id
              JOIN project o ON o.id = s.project_id
              JOIN catalog c ON c.project_id = o.id AND c.version = o.catalog_version
              WHERE s.status NOT IN ('canceled', 'incomplete_expired')
            ) live
            GROUP BY customer_id, plan HAVING count(DISTINCT id) > 1
        """),
    ),
)
