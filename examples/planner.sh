#!/bin/sh
# An agent that plans: the first time it adds children and gives its subtask back, the second time it puts together what
# they delivered. The form of "$spawn" and "$suspend" is told by `downbeat worker --help`.
brief=$(cat)
case $brief in
*'"children":{}'*)
    cat <<'END'
{
  "$spawn": [
    {"key": "intro", "agent": "writer", "input": {"about": "why"}},
    {"key": "body", "agent": "writer", "input": {"about": "how"}},
    {"key": "end", "agent": "writer", "input": {"about": "what now"}, "depends_on": ["intro", "body"]}
  ],
  "$suspend": true
}
END
    ;;
*)
    printf '%s' "$brief" | sed 's/.*"children":\(.*\),"context":.*/{"chapters": \1}/'
    ;;
esac
