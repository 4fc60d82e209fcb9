package schedule

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"
)

const maxZoneBytes = 64

// zoneNames lists the names of the tz database, one a line, sorted. The database
// itself may come from the operating system, where a lookup can ignore case and
// where the same folder holds what is not a zone (posixrules), another time
// scale (right/...) or the machine's own zone (localtime). The list tells what a
// name is without asking the machine.
//
//go:embed zones.txt
var zoneNames string

// abbreviations are what people write for a zone although it names none: several
// countries share them and half of them are valid for half of the year.
var abbreviations = map[string]string{
	"AEST": "Australia/Sydney", "AEDT": "Australia/Sydney",
	"BST": "Europe/London",
	"CST": "America/Chicago", "CDT": "America/Chicago",
	"CEST": "Europe/Berlin", "EDT": "America/New_York", "EEST": "Europe/Athens",
	"IST": "Asia/Kolkata", "JST": "Asia/Tokyo", "KST": "Asia/Seoul",
	"MDT": "America/Denver", "MSK": "Europe/Moscow",
	"PST": "America/Los_Angeles", "PDT": "America/Los_Angeles",
	"SGT": "Asia/Singapore", "WEST": "Europe/Lisbon",
}

// loadZone returns the location of an IANA name; "" is UTC. Its errors go on
// where a sentence that begins with "timezone" would.
func loadZone(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	if err := checkZoneName(name); err != nil {
		return nil, err
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		// The reason names paths of this machine, which are nobody's business.
		return nil, fmt.Errorf("%s is not in the tz database of this server", quote(name))
	}
	return loc, nil
}

// checkZoneName accepts the names of the list, and those of a newer database that
// lie in an area of the list.
func checkZoneName(name string) error {
	if len(name) > maxZoneBytes {
		return fmt.Errorf("is %d bytes long; at most %d are allowed", len(name), maxZoneBytes)
	}
	if strings.EqualFold(name, "Local") {
		return errors.New("must be an IANA name: the zone of the server is not the one of the user")
	}
	for _, r := range name {
		if r < ' ' || r > '~' {
			return fmt.Errorf("contains %+q; an IANA name is plain ASCII", r)
		}
	}
	found := lookUpZone(name)
	switch {
	case found.exact:
		return nil
	case found.folded != "":
		return fmt.Errorf("%s is spelt %s", quote(name), found.folded)
	case found.area && wellFormedZone(name):
		return nil
	case abbreviations[strings.ToUpper(name)] != "":
		return fmt.Errorf("%s is an abbreviation, not an IANA name; perhaps %s is meant", quote(name), abbreviations[strings.ToUpper(name)])
	case found.city != "":
		return fmt.Errorf("%s is not an IANA name; perhaps %s is meant", quote(name), found.city)
	case strings.ContainsAny(name, "+-:0123456789"):
		return fmt.Errorf("%s is not an IANA name; an offset is no zone, name a place", quote(name))
	}
	return fmt.Errorf("%s is not an IANA name", quote(name))
}

// zoneMatch is what the list knows about a name.
type zoneMatch struct {
	exact  bool
	folded string // the name in the list that differs in case or spaces only
	area   bool   // its first segment is an area of the list
	city   string // the first name in the list whose last segment it is
}

func lookUpZone(name string) zoneMatch {
	var m zoneMatch
	underscored := strings.ReplaceAll(name, " ", "_")
	nameArea, _, inArea := strings.Cut(name, "/")
	for zone := range strings.Lines(zoneNames) {
		zone = strings.TrimSuffix(zone, "\n")
		if zone == name {
			return zoneMatch{exact: true}
		}
		area, _, _ := strings.Cut(zone, "/")
		m.area = m.area || inArea && area == nameArea
		if strings.EqualFold(zone, underscored) {
			m.folded = zone
		}
		// Not from Etc: GMT+5 there is five hours behind, which nobody means.
		if city := zone[strings.LastIndexByte(zone, '/')+1:]; m.city == "" && area != "Etc" && strings.EqualFold(city, underscored) {
			m.city = zone
		}
	}
	return m
}

// wellFormedZone reports whether each segment of name begins with a letter and
// goes on with letters, digits, _, - or +: never a path that leaves the database.
func wellFormedZone(name string) bool {
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "" || !isLetter(segment[0]) {
			return false
		}
		for _, c := range []byte(segment) {
			if !isLetter(c) && !('0' <= c && c <= '9') && c != '_' && c != '-' && c != '+' {
				return false
			}
		}
	}
	return true
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
