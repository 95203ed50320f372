"""Pages of long lists, near the beginning and deep inside: `python -m benchmarks.reading`.

One workspace with a million events and one endpoint with a million deliveries, read over HTTP by one client, one
request after another, 50 rows a page: the first page, pages in the middle of the list (reached by following cursors,
which is not measured), and pages by filters that meet many rows, few rows, or have no index. No page counts the whole
list, which the ratio of a deep page to the first shows. The rows are written by SQL, so the chain of these events is
not a true one; reading does not look at it.

Beside them stands what a page by number would cost at the same depth: OFFSET in SQL alone, without HTTP.
"""
