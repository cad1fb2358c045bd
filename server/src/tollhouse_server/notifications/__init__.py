"""From the outbox to the apps: signed, posted to public hosts, tried again for days, given up visibly."""
