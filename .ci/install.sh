#!/bin/bash
# Lays out the release build as a tree that runs without the clone and without a Swift toolchain.
#
#   .ci/install.sh DESTDIR PREFIX      KEEL_BUILD: the folder of the build, .build/release if not set
#
# bin/keel                        the executable
# lib/keel/                       the Swift runtime and the libraries it is linked with
# lib/keel/keel-worker            the process that rewards and data samplers run in
# lib/keel/plugins/               the plugins
# lib/pkgconfig/keel.pc           for C plugins: cc $(pkg-config --cflags keel)
# lib/cmake/Keel/                 the same for CMake: find_package(Keel), target Keel::keel
# include/                        keel.h, keel_math*.h
# share/keel/sdk/                 the SDK: sources for `keel plugin build`, templates for `keel plugin new`, examples
#
# The tree finds its parts by their places in it, so that it may be moved.
# share/{man,bash-completion,zsh,fish}
set -eu
cd "$(dirname "$0")/.."
prefix=$2
root=${1%/}$prefix
build=${KEEL_BUILD:-.build/release}

install -d "$root/bin" "$root/lib/keel/plugins" "$root/lib/pkgconfig" "$root/lib/cmake/Keel" "$root/include" \
    "$root/share/keel/sdk" "$root/share/man/man1" "$root/share/bash-completion/completions" \
    "$root/share/zsh/site-functions" "$root/share/fish/vendor_completions.d"
root=$(cd "$root" && pwd)

install -m 755 $build/keel "$root/bin/keel"
install -m 755 $build/keel-worker "$root/lib/keel/keel-worker"
for plugin in $build/libkeel-*.so; do
    install -m 755 "$plugin" "$root/lib/keel/plugins/"
done
strip --strip-unneeded "$root/bin/keel" "$root/lib/keel/keel-worker" "$root"/lib/keel/plugins/*.so

# Everything that ldd finds, but the C and C++ libraries that every system has: those must be the system's own.
ldd $build/keel $build/keel-worker $build/libkeel-*.so | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
    while read -r library; do
        case $(basename "$library") in
        libc.so* | libm.so* | libdl.so* | librt.so* | libpthread.so* | ld-linux* | libstdc++* | libgcc_s*) ;;
        *) install -m 644 "$library" "$root/lib/keel/" ;;
        esac
    done

install -m 644 SDK/C/include/*.h "$root/include/"
# Anew, so that nothing of an older version stays.
rm -rf "$root/share/keel/sdk"
cp -R SDK "$root/share/keel/sdk"
version=$("$root/bin/keel" --version)
minor=$(sed -n 's/.*package static let minor = \([0-9]*\).*/\1/p' Sources/KeelBridge/HostTable.swift)
cat >"$root/lib/pkgconfig/keel.pc" <<PC
prefix=\${pcfiledir}/../..
includedir=\${prefix}/include
plugindir=\${prefix}/lib/keel/plugins
sdkdir=\${prefix}/share/keel/sdk
abi_version=1.$minor

Name: keel
Description: Reward, objective and sampler plugins for Keel
Version: $version
Cflags: -I\${includedir}
PC
cat >"$root/lib/cmake/Keel/KeelConfig.cmake" <<'CMAKE'
# The target Keel::keel gives plugins the folder of keel.h; there is nothing to link.
#
#   find_package(Keel REQUIRED)
#   add_library(reward MODULE reward.c)
#   target_link_libraries(reward PRIVATE Keel::keel)
get_filename_component(_keel_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET Keel::keel)
  add_library(Keel::keel INTERFACE IMPORTED)
  set_target_properties(Keel::keel PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${_keel_prefix}/include")
endif()
set(Keel_SDK_DIR "${_keel_prefix}/share/keel/sdk")
unset(_keel_prefix)
CMAKE
cat >"$root/lib/cmake/Keel/KeelConfigVersion.cmake" <<CMAKE
# Any version asked for up to this one: plugins written for an older Keel build and load in a newer one.
set(PACKAGE_VERSION "$version")
if(PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE FALSE)
else()
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
  if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
    set(PACKAGE_VERSION_EXACT TRUE)
  endif()
endif()
CMAKE

"$root/bin/keel" --generate-completion-script bash >"$root/share/bash-completion/completions/keel"
"$root/bin/keel" --generate-completion-script zsh >"$root/share/zsh/site-functions/_keel"
"$root/bin/keel" --generate-completion-script fish >"$root/share/fish/vendor_completions.d/keel.fish"
.ci/manual.sh "$root/bin/keel" "$root/share/man/man1"
echo "installed keel $version in $root"
