#!/bin/bash
# A worker on each of these machines, which share this directory and its .venv (or have `regard` on their PATH):
#     HOSTS="node1 node2" recipes/cluster/ssh.sh run.toml -o run
# What the first worker says is shown, the others' is in worker-N.log. One ends badly: all are ended. Ctrl-C: all save.
set -u
read -ra names <<< "$HOSTS"
hosts=
for name in "${names[@]}"; do hosts+="\"$name:${PORT:-2222}\","; done

pids=()
for index in "${!names[@]}"; do
    config="{\"cluster\": {\"worker\": [${hosts%,}]}, \"task\": {\"type\": \"worker\", \"index\": $index}}"
    worker="TF_CONFIG=$(printf %q "$config") exec regard train$(printf ' %q' "$@")"
    # -tt: where ssh here ends, the shell there hears SIGHUP, and asks the worker to save and stop.
    command="cd $(printf %q "$PWD") && PATH=\$PWD/.venv/bin:\$PATH && trap 'kill -TERM \$!' HUP && { (trap '' HUP; $worker) & wait \$!; }"
    if [ "$index" = 0 ]; then
        ssh -tt "${names[0]}" "$command" < /dev/null &
    else
        ssh -tt "${names[$index]}" "$command" < /dev/null > "worker-$index.log" 2>&1 &
    fi
    pids+=($!)
done

stopping=
trap 'stopping=1; kill -TERM "${pids[@]}" 2> /dev/null' INT TERM
worst=0
for _ in "${pids[@]}"; do
    wait -n "${pids[@]}"
    code=$?
    [ -z "$stopping" ] || break
    if [ "$code" != 0 ] && [ "$worst" = 0 ]; then
        worst=$code
        sleep "${GRACE:-40}" & # the others notice by themselves, and say so
        wait $!
        kill "${pids[@]}" 2> /dev/null
    fi
done
if [ -n "$stopping" ]; then # an ssh that was ended says so itself (143, 255), and not what the worker there came to
    worst=75
    for pid in "${pids[@]}"; do
        wait "$pid"
        code=$?
        [[ " 0 75 127 143 255 " == *" $code "* ]] || worst=$code
    done
fi
exit "$worst"
