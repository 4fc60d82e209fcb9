package app

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/redis/go-redis/v9"
)

// The spellings of GATEWAY_CRON_REDIS_URL. Every other scheme than unix has a twin
// that begins with rediss and speaks TLS.
const (
	redisSpelling    = "redis://[user:password@]host[:6379][/db]"
	sentinelSpelling = "redis+sentinel://[user:password@]host[:26379][,host…]/master[/db][?sentinel_username=…&sentinel_password=…]"
	clusterSpelling  = "redis+cluster://[user:password@]host[:6379][,host…]"
)

// parseRedisURL reads the URL of a server, of a Sentinel deployment or of a cluster.
// Of the query it takes what redis.ParseURL takes. No error repeats any part of the
// URL: a password with an unescaped character may stand in every one of them.
func parseRedisURL(raw string) (o *redis.UniversalOptions, encrypted bool, err error) {
	scheme, rest, _ := strings.Cut(raw, "://")
	base, kind, _ := strings.Cut(scheme, "+")
	encrypted = base == "rediss"
	switch {
	case scheme == "unix":
		o, err = parseServer(raw)
		return o, false, err
	case base != "redis" && base != "rediss":
	case scheme == base:
		o, err = parseServer(raw)
		return o, encrypted, err
	case kind == "sentinel":
		o, err = parseSentinel(rest)
		return o, encrypted, err
	case kind == "cluster":
		o, err = parseCluster(rest)
		return o, encrypted, err
	}
	return nil, false, errors.New("it must start with redis://, redis+sentinel://, redis+cluster:// (each with rediss for TLS) or unix://")
}

func parseServer(raw string) (*redis.UniversalOptions, error) {
	s, err := redis.ParseURL(raw)
	if err != nil {
		return nil, fmt.Errorf("it must look like %s, for example redis://127.0.0.1:6379/0", redisSpelling)
	}
	if s.TLSConfig != nil && s.TLSConfig.InsecureSkipVerify {
		return nil, errors.New("skip_verify is not supported: name the authority in GATEWAY_CRON_REDIS_CA_FILE")
	}
	return universal(s), nil
}

func parseSentinel(rest string) (*redis.UniversalOptions, error) {
	hosts, u, err := parseHosts(rest, "26379")
	if err != nil {
		return nil, fmt.Errorf("%w: it must look like %s", err, sentinelSpelling)
	}
	master, db, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if master == "" {
		return nil, fmt.Errorf("the name of the master is missing: it must look like %s", sentinelSpelling)
	}
	query := u.Query()
	user, password := query.Get("sentinel_username"), query.Get("sentinel_password")
	query.Del("sentinel_username")
	query.Del("sentinel_password")
	u.Path, u.RawQuery = "/"+db, query.Encode()
	o, err := parseServer(u.String())
	if err != nil {
		return nil, fmt.Errorf("database or options: it must look like %s", sentinelSpelling)
	}
	o.Addrs, o.MasterName, o.SentinelUsername, o.SentinelPassword = hosts, master, user, password
	return o, nil
}

func parseCluster(rest string) (*redis.UniversalOptions, error) {
	hosts, u, err := parseHosts(rest, "6379")
	if err != nil {
		return nil, fmt.Errorf("%w: it must look like %s", err, clusterSpelling)
	}
	o, err := parseServer(u.String())
	if err != nil {
		return nil, fmt.Errorf("options: it must look like %s", clusterSpelling)
	}
	if o.DB != 0 {
		return nil, errors.New("a cluster has no databases: leave the number away, and use GATEWAY_CRON_PREFIX to share it")
	}
	o.Addrs, o.IsClusterMode = hosts, true
	return o, nil
}

// parseHosts takes a list of hosts out of what follows the scheme. net/url knows but
// one host, so the URL it answers is that of the first.
func parseHosts(rest, port string) (hosts []string, u *url.URL, err error) {
	authority, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	user, list := "", authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, list = authority[:i+1], authority[i+1:]
	}
	for host := range strings.SplitSeq(list, ",") {
		one, err := url.Parse("redis://" + host)
		if err != nil || one.Hostname() == "" || one.Host != host {
			return nil, nil, errors.New("the list of hosts cannot be read")
		}
		if p := one.Port(); p != "" {
			hosts = append(hosts, net.JoinHostPort(one.Hostname(), p))
		} else {
			hosts = append(hosts, net.JoinHostPort(one.Hostname(), port))
		}
	}
	if u, err = url.Parse("redis://" + user + hosts[0] + path); err != nil {
		return nil, nil, errors.New("special characters of a user or a password must be percent-encoded")
	}
	return hosts, u, nil
}

// universal takes over what a URL can set.
func universal(s *redis.Options) *redis.UniversalOptions {
	return &redis.UniversalOptions{
		Addrs: []string{s.Addr}, DB: s.DB, Username: s.Username, Password: s.Password,
		ClientName: s.ClientName, Protocol: s.Protocol,
		MaxRetries: s.MaxRetries, MinRetryBackoff: s.MinRetryBackoff, MaxRetryBackoff: s.MaxRetryBackoff,
		DialTimeout: s.DialTimeout, ReadTimeout: s.ReadTimeout, WriteTimeout: s.WriteTimeout,
		PoolFIFO: s.PoolFIFO, MinIdleConns: s.MinIdleConns, MaxIdleConns: s.MaxIdleConns, MaxActiveConns: s.MaxActiveConns,
		ConnMaxIdleTime: s.ConnMaxIdleTime, ConnMaxLifetime: s.ConnMaxLifetime, ConnMaxLifetimeJitter: s.ConnMaxLifetimeJitter,
	}
}
