# Run in a network of its own, which is the host; a second one has everybody else. Arguments: nft, haproxy, the firewall, and
# a folder for files. Says "firewall: all as it should be" at its end.
set -euo pipefail
nft=$1 haproxy=$2 rules=$3 folder=$4
open=30 shut=1

# Everybody else: a network that lives as long as this script.
mkfifo "$folder/ready"
alone() { exec setpriv --pdeathsig KILL -- "$@"; }
alone unshare --net sh -c 'echo >"$1"; exec sleep infinity' - "$folder/ready" &
others=$!
trap 'kill $(jobs -p)' EXIT
read -r <"$folder/ready"
ip link set lo up
ip link add host type veth peer name others netns $others
ip address add 192.0.2.1/24 dev host
ip address add 10.0.0.1/16 dev host
ip link set host up
elsewhere() { nsenter --net=/proc/$others/ns/net -- "$@"; }
elsewhere ip link set others up
# A stranger, another one, then by the addresses of the example: HAProxy, a gateway, a Redis, an operator.
for address in 192.0.2.2/24 192.0.2.3/24 10.0.0.5/16 10.0.0.11/16 10.0.0.31/16 10.0.1.9/16; do
    elsewhere ip address add $address dev others
done
ip address add 2001:db8::1/64 dev host nodad
for address in 2001:db8::2 2001:db8::3; do elsewhere ip address add $address/64 dev others nodad; done

# Something answers on every port that there could be.
{
    printf 'defaults\n    mode http\n    timeout client 30s\n    timeout connect 5s\n    timeout server 30s\nfrontend all\n'
    printf '    bind :::%s v4v6\n' 22 80 443 5432 6379 7000 7001 7010 7011 7100 7101 8404 9000 16379 26379
    printf '    http-request return status 200\n'
} >"$folder/answers.cfg"
alone "$haproxy" -db -f "$folder/answers.cfg" &
served=$!

# asks SECONDS FROM PORT: whether it is answered within so many seconds.
asks() {
    local to=192.0.2.1
    case $2 in
    10.*) to=10.0.0.1 ;;
    *:*) to=[2001:db8::1] ;;
    esac
    elsewhere curl --silent --fail --output /dev/null --max-time "$1" --interface "$2" "http://$to:$3/"
}
fail() {
    echo "firewall: $1"
    "$nft" list ruleset
    exit 1
}
answered() { for port in "${@:2}"; do asks $open "$1" "$port" || fail "$1 does not reach $port"; done; }
# All at once: nothing is what each waits for.
unanswered() {
    local port asking=()
    for port in "${@:2}"; do
        asks $shut "$1" "$port" &
        asking+=($!)
    done
    for port in "${asking[@]}"; do ! wait "$port" || fail "$1 reaches one of ${*:2}"; done
}

# Without it everybody reaches everything.
until asks $open 192.0.2.2 26379; do kill -0 $served; done
for address in 192.0.2.2 10.0.0.5 10.0.0.11 10.0.0.31 10.0.1.9; do
    answered $address 22 443 7000 7001 6379 9000
done

"$nft" --check --file "$rules"
"$nft" --file "$rules"
# Again, as a reload does it.
"$nft" --file "$rules"

followed() { cat /proc/sys/net/netfilter/nf_conntrack_count; }
answered 192.0.2.2 80 443
answered 10.0.0.5 443 7000 7010 7100
answered 10.0.0.11 5432 6379 26379
answered 10.0.0.31 5432 6379 16379 26379
# What this host begins itself, and what never leaves it.
alone nsenter --net=/proc/$others/ns/net -- "$haproxy" -db -f "$folder/answers.cfg" &
asked() { curl --silent --fail --output /dev/null --max-time $open --retry 100 --retry-connrefused --retry-delay 1 "http://$1/"; }
asked 10.0.0.31:6379 || fail "this host does not reach Redis"
asked 127.0.0.1:7001 || fail "this host does not reach itself"
[ "$(followed)" = 0 ] || fail "$(followed) connections are followed"
asked 192.0.2.2:9000 || fail "this host does not reach others"
answered 10.0.1.9 22 7001 7101 8404
[ "$(followed)" -gt 0 ] || fail "no connection is followed"

unanswered 192.0.2.2 22 7000 7001 7100 7101 8404 5432 6379 26379 9000
unanswered 10.0.0.5 22 7001 7101 6379 5432
unanswered 10.0.0.11 22 7000 7001 16379
unanswered 10.0.0.31 22 7000 7001
unanswered 10.0.1.9 7000 9000

# Who begins too often is not heard any more, others are; with a limit that three connections reach. Of IPv6 a network counts.
sed 's|100/second burst 1000|1/day burst 3|' "$rules" >"$folder/strict"
! cmp -s "$rules" "$folder/strict" || fail "there is no limit to lower"
"$nft" --file "$folder/strict"
answered 192.0.2.2 443 443 443
unanswered 192.0.2.2 443 80
answered 192.0.2.3 443
answered 2001:db8::2 443 443 443
unanswered 2001:db8::3 443
answered 10.0.0.5 7000 7000 7000 7000
echo "firewall: all as it should be"
