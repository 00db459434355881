#!/bin/sh
# Makes the passwords of the stack, random ones, in deploy/compose/secrets. Those that are there stay as they are.
#
# The folder is for its owner only. The files in it can be read by everybody, since they are mounted into containers
# whose users are not the folder's owner: without the folder, nobody on this machine gets to them.
set -eu
folder="$(dirname "$0")/secrets"
umask 077
mkdir -p "$folder"
chmod 700 "$folder"
for name in postgres shipper reader mlflow grafana; do
    file="$folder/$name"
    if [ ! -s "$file" ]; then
        # 32 letters and digits.
        LC_ALL=C tr -dc 'a-zA-Z0-9' </dev/urandom | head -c 32 >"$file.new"
        chmod 444 "$file.new"
        mv "$file.new" "$file"
        echo "made $file"
    fi
done
