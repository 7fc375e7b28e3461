#!/bin/sh
# An agent that counts in the shared context of its task: it finds the count and its version in the brief, and writes one
# more only where nobody has written meanwhile. The form of "$context" is told by `downbeat worker --help`.
brief=$(cat)
count=$(printf '%s' "$brief" | sed -n 's/.*"context":{"count":\([0-9]*\)}.*/\1/p')
version=$(printf '%s' "$brief" | sed -n 's/.*"context_versions":{"count":\([0-9]*\)}.*/\1/p')
cat <<END
{
  "\$context": [{"key": "count", "value": $((count + 1)), "expected_version": $version}],
  "counted": $((count + 1))
}
END
