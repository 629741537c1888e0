import Foundation
import KeelCore
import Testing

@testable import KeelBridge

/// The first look at a plugin file.
struct WorkerDescriptionTests {
    @Test func whatAWorkerSeesIsWhatTheHostSees() throws {
        for path in [
            try Zoo.path.get(), try WorkerPlugins.mischief.get(), try WorkerPlugins.probe.get(),
        ] {
            #expect(
                try WorkerDescription.components(of: path)
                    == Library.open(path).map(\.component))
        }
    }

    private func hostile(
        _ name: String, _ constructor: String, entry: String? = nil
    ) throws
        -> String
    {
        try Zoo.build(
            name,
            """
            #define _GNU_SOURCE
            #include "keel.h"
            #include <stdio.h>
            #include <stdlib.h>
            #include <unistd.h>
            static keel_status score(void *s, keel_call *c, size_t n, float *o) { (void)s; (void)c; (void)n; (void)o; return 0; }
            static const keel_component r = KEEL_REWARD(.name = "r", .help = "r", .score = score);
            __attribute__((constructor)) static void begin(void) { \(constructor) }
            \(entry ?? "KEEL_PLUGIN(\"org.example.\(name)\", \"1.0\", &r)")
            """)
    }

    @Test(arguments: [
        (
            "crash", "fputs(\"here I go\\n\", stderr); *(volatile int *)0 = 1;",
            "was killed by signal 11 (segmentation fault)\n  it wrote: here I go"
        ),
        ("abort", "abort();", "was killed by signal 6 (aborted)"),
        ("exit", "_exit(5);", "loaded and exited with status 5"),
        ("hang", "for (;;) pause();", "gave no answer within 0.5 s"),
    ])
    func aFileThatDoesHarmWhenItIsLoaded(_ name: String, _ code: String, _ says: String) throws {
        let path = try hostile("hostile_\(name)", code)
        let error = #expect(throws: KeelError.self) {
            try WorkerDescription.components(of: path, limit: name == "hang" ? 0.5 : 20)
        }
        let text = "\(try #require(error))"
        #expect(text.contains("cannot load hostile_\(name).so: its code runs when it is loaded"))
        #expect(text.contains(says), "\(text)")
        #expect(text.contains("at:  \(path)") && error?.code == .unavailable)
    }

    @Test func anEntryThatReturnsNothing() throws {
        let path = try hostile(
            "hostile_null", "",
            entry:
                "KEEL_EXPORT const keel_plugin *keel_plugin_v1(void); KEEL_EXPORT const keel_plugin *keel_plugin_v1(void) { (void)r; return 0; }"
        )
        #expect(
            message { _ = try WorkerDescription.components(of: path) }.contains(
                "keel_plugin_v1 of hostile_null.so returned nothing"))
    }

    @Test func descriptorsThatLieAreRefusedInTheHostsWords() throws {
        let cases = [
            ("size", "static const keel_plugin p = {3, 0, \"a\", \"1\", 0};"),
            (
                "component",
                "static keel_component c = {.size = 5}; static const keel_component *const l[] = {&c, 0}; static const keel_plugin p = {sizeof(keel_plugin), 0, \"a\", \"1\", l};"
            ),
            (
                "stride",
                "static const keel_param q[1] = {{\"n\", 1, 0, 0, 0, 0, 0, 0, 0}}; static keel_component c = KEEL_REWARD(.name = \"c\", .params = q, .param_count = 1, .param_stride = 4, .score = score); static const keel_component *const l[] = {&c, 0}; static const keel_plugin p = {sizeof(keel_plugin), 0, \"a\", \"1\", l};"
            ),
            (
                "newer",
                "static const keel_component *const l[] = {&r, 0}; static const keel_plugin p = {sizeof(keel_plugin), 99, \"a\", \"1\", l};"
            ),
            (
                "text",
                "static char t[70000]; static keel_component c = KEEL_REWARD(.name = \"c\", .help = t, .score = score); static const keel_component *const l[] = {&c, 0}; static const keel_plugin p = {sizeof(keel_plugin), 0, \"a\", \"1\", l}; __attribute__((constructor)) static void fill(void) { memset(t, 'x', sizeof t - 1); }"
            ),
        ]
        for (name, code) in cases {
            let path = try hostile(
                "lying_\(name)", "(void)r;",
                entry: code
                    + " KEEL_EXPORT const keel_plugin *keel_plugin_v1(void); KEEL_EXPORT const keel_plugin *keel_plugin_v1(void) { return &p; }"
            )
            let there = message { _ = try WorkerDescription.components(of: path) }
            let here = message { _ = try Library.open(path) }
            #expect(there == here && there.hasPrefix("error[plugin]"), "\(name): \(there)\n\(here)")
        }
    }

    @Test func aCatalogLoadsNothingIntoThisProcess() throws {
        let path = try hostile("unloaded", "setenv(\"KEEL_TEST_LOADED\", \"1\", 1);")
        let catalog = PluginCatalog(searchPaths: [], cacheFolder: Zoo.folder)
        let component = try catalog.find(path, kind: .reward)
        #expect(component.name == "r")
        #expect(getenv("KEEL_TEST_LOADED") == nil)
        let reward = try WorkerReward(component, parameters: try component.validate(params: [:]))
        #expect(try reward.score(WorkerPlugins.rows(["a"])).map(\.value.isNaN) == [true])
        #expect(getenv("KEEL_TEST_LOADED") == nil)
    }

    @Test func theMinorIsTheHosts() { #expect(WorkerDescription.minor == HostTable.minor) }
}
