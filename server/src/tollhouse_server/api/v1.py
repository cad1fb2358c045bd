"""The API, version 1: its table of contents."""

from fastapi import APIRouter

from . import (
    admin_audit,
    admin_catalog,
    admin_corrections,
    admin_customers,
    admin_events,
    admin_grants,
    admin_kept_openings,
    admin_keys,
    admin_metrics,
    admin_projects,
    admin_reconciliations,
    catalog,
    checkouts,
    contacts,
    customers,
    entitlements,
    metrics,
    notifications,
    plan_changes,
    portal_sessions,
    snapshots,
    stream,
    stripe_webhook,
)

routes = APIRouter(prefix="/v1", generate_unique_id_function=lambda route: route.name)

# A project's key
routes.include_router(entitlements.router)
routes.include_router(snapshots.router)
routes.include_router(stream.router)
routes.include_router(customers.router)
routes.include_router(contacts.router)
routes.include_router(checkouts.router)
routes.include_router(plan_changes.router)
routes.include_router(portal_sessions.router)
routes.include_router(catalog.router)
routes.include_router(notifications.of_project)
routes.include_router(metrics.router)
# An operator's key
routes.include_router(admin_projects.router)
routes.include_router(admin_catalog.router)
routes.include_router(admin_kept_openings.router)
routes.include_router(admin_keys.router)
routes.include_router(admin_grants.router)
routes.include_router(admin_customers.router)
routes.include_router(admin_events.router)
routes.include_router(admin_corrections.router)
routes.include_router(admin_audit.router)
routes.include_router(notifications.of_operators)
routes.include_router(admin_metrics.router)
routes.include_router(admin_reconciliations.router)
# Stripe's signature
routes.include_router(stripe_webhook.router)
