#!/bin/bash
# Lays out the release build as a tree that runs without the clone and without a Swift toolchain.
#
#   .ci/install.sh DESTDIR PREFIX      KEEL_BUILD: the folder of the build, .build/release if not set
#
# bin/keel                        the executable
# lib/keel/                       the Swift runtime and the libraries it is linked with
# lib/keel/plugins/               the plugins
# lib/pkgconfig/keel.pc           for C plugins: cc $(pkg-config --cflags keel)
# include/                        keel.h, keel_math.h
# share/keel/sdk/                 the SDK's sources, from which `keel plugin build` compiles Swift plugins
# share/{man,bash-completion,zsh,fish}
set -eu
cd "$(dirname "$0")/.."
prefix=$2
root=${1%/}$prefix
build=${KEEL_BUILD:-.build/release}

install -d "$root/bin" "$root/lib/keel/plugins" "$root/lib/pkgconfig" "$root/include" \
    "$root/share/keel/sdk" "$root/share/man/man1" "$root/share/bash-completion/completions" \
    "$root/share/zsh/site-functions" "$root/share/fish/vendor_completions.d"
root=$(cd "$root" && pwd)

install -m 755 $build/keel "$root/bin/keel"
for plugin in $build/libkeel-*.so; do
    install -m 755 "$plugin" "$root/lib/keel/plugins/"
done
strip --strip-unneeded "$root/bin/keel" "$root"/lib/keel/plugins/*.so

# Everything that ldd finds, but the C and C++ libraries that every system has: those must be the system's own.
ldd $build/keel $build/libkeel-*.so | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
    while read -r library; do
        case $(basename "$library") in
        libc.so* | libm.so* | libdl.so* | librt.so* | libpthread.so* | ld-linux* | libstdc++* | libgcc_s*) ;;
        *) install -m 644 "$library" "$root/lib/keel/" ;;
        esac
    done

install -m 644 SDK/C/include/*.h "$root/include/"
cp -R SDK/. "$root/share/keel/sdk/"
version=$("$root/bin/keel" --version)
minor=$(sed -n 's/.*package static let minor = \([0-9]*\).*/\1/p' Sources/KeelBridge/HostTable.swift)
cat >"$root/lib/pkgconfig/keel.pc" <<PC
prefix=$prefix
includedir=\${prefix}/include
plugindir=\${prefix}/lib/keel/plugins
abi_version=1.$minor

Name: keel
Description: Reward, objective and sampler plugins for Keel
Version: $version
Cflags: -I\${includedir}
PC

"$root/bin/keel" --generate-completion-script bash >"$root/share/bash-completion/completions/keel"
"$root/bin/keel" --generate-completion-script zsh >"$root/share/zsh/site-functions/_keel"
"$root/bin/keel" --generate-completion-script fish >"$root/share/fish/vendor_completions.d/keel.fish"
.ci/manual.sh "$root/bin/keel" "$root/share/man/man1"
echo "installed keel $version in $root"
