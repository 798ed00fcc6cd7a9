# SPDX-License-Identifier: Apache-2.0
"""
The HTTP side: one client a source, which knows nothing of Kafka or of a provider.

::

    client.py     what providers call: one attempt, a Reply or an error by what to do next
    ├── auth.py       credentials: an API key, or OAuth2 client credentials
    ├── limits.py     the request budget and the number of requests at a time
    ├── hints.py      Retry-After and X-RateLimit-*      clock.py   the server's clock
    └── transport.py  one exchange on the wire, every failure a RetryError
        ├── guards.py     which URLs and addresses may be reached at all
        └── body.py       bodies with bounds, also behind gzip
    retry.py      how long to wait before the next attempt; the engine asks it
    observer.py   what is measured                        timing.py  time, for tests to replace
"""
