# Turns conduit.toml.example into the configuration of the Debian package.
#
# The store and the socket get the places that the unit gives them. All else stays as it is: the
# built-in provider `echo` needs no key, so the service starts before anyone has given it one.
# Fails when the example has no place for one of the paths, so that a change there is noticed.

BEGIN {
    place["store.path"] = "/var/lib/conduit/conduit.redb"
    place["admin.socket"] = "/run/conduit/admin.sock"
    print "# The configuration of conduit.service. It is read again whenever it is saved."
    print "#"
    print "# A provider's key goes into a file, /etc/conduit/credentials/NAME, readable by root alone; here it is"
    print "# named by `api_key_credential = \"cred_NAME\"`. Then: systemctl restart conduit"
    print "# Keys for clients are made with: sudo -u conduit conduit keys create NAME"
    print ""
}

# A header of the two sections, also where the example has it as a comment.
match($0, /^(# ?)?\[(store|admin)\][ \t]*$/) {
    section = $0
    gsub(/[][# \t]/, "", section)
    print "[" section "]"
    next
}

/^\[/ {
    section = $0
    gsub(/[][" \t]/, "", section)
}

match($0, /^(# ?)?[a-z_]+ *=/) {
    name = substr($0, 1, RLENGTH)
    gsub(/[#= \t]/, "", name)
    path = section "." name
    if (path in place) {
        print name " = \"" place[path] "\""
        delete place[path]
        next
    }
}

{ print }

END {
    for (path in place) {
        print "packaged-config.awk: the example has no " path > "/dev/stderr"
        missing = 1
    }
    exit missing
}
