// swift-tools-version: 6.2
import PackageDescription

// One manifest for the host, the SDK and every plugin. Who may import whom: docs/architecture.md;
// `swift build --explicit-target-dependency-import-check error` enforces it.

/// Swift plugins: folder under Plugins/ -> product `libkeel-<name>.so`, found by its component's name.
let swiftPlugins = [
    "SFT": "sft", "DPO": "dpo", "RLOO": "rloo", "Lexicon": "lexicon",
    "ALOL": "alol", "GOLD": "gold", "KTO": "kto", "ORPO": "orpo", "PRO": "pro",
    "RewardModel": "reward_model", "SimPO": "simpo", "Priority": "priority",
    "Greedy": "greedy", "Nucleus": "nucleus", "Shuffle": "shuffle", "Sequential": "sequential",
    "LengthGrouped": "length_grouped", "Curriculum": "curriculum",
    "Repetition": "repetition", "TfidfNovelty": "tfidf_novelty", "PPO": "ppo",
    "PPOMax": "ppo_max", "Reinforce": "reinforce", "GRPO": "grpo", "OnlineDPO": "online_dpo",
].sorted { $0.key < $1.key }
let cPlugins = [
    "ExactAnswer": "exact_answer", "Judge": "judge", "Length": "length", "Model": "model",
    "Regex": "regex",
].sorted { $0.key < $1.key }
/// C plugins that search texts by regular expressions.
let patternPlugins = ["Judge", "Regex"]
/// C plugins that call functions of math.h: a worker brings no libm with it.
let mathPlugins = ["Model"]
/// Where an installed plugin finds the libraries that come with Keel: `lib/keel`, above `lib/keel/plugins`.
let installedLibraries: [LinkerSetting] = [
    .unsafeFlags(["-Xlinker", "-rpath", "-Xlinker", "$ORIGIN/.."])
]

let strict: [SwiftSetting] =
    Context.environment["KEEL_STRICT"] == nil ? [] : [.treatAllWarnings(as: .error)]
let strictC: [CSetting] =
    Context.environment["KEEL_STRICT"] == nil ? [] : [.treatAllWarnings(as: .error)]

/// C products need the C library only: without these swiftc links them to the Swift runtime.
let plainC: [CSetting] = [
    .unsafeFlags(["-include", "\(Context.packageDirectory)/SDK/as_needed.h"])
]
let plainCLink: [LinkerSetting] = [
    .unsafeFlags(["-nostartfiles", "-no-toolchain-stdlib-rpath"])
]

/// Plugins export one symbol and nothing else, and resolve everything when they are loaded.
let pluginLink: [LinkerSetting] = [
    .unsafeFlags([
        "-Xlinker", "--version-script=\(Context.packageDirectory)/SDK/plugin.map",
        "-Xlinker", "-z", "-Xlinker", "now", "-Xlinker", "--gc-sections",
    ])
]

func host(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

/// The fuzzer's program links with a library of the compiler that `.ci/fuzz.sh` finds.
let fuzzTargets: [Target] =
    Context.environment["KEEL_FUZZ"] == nil
    ? []
    : [
        .target(name: "CFuzzer", path: "Tests/Fuzz/CFuzzer"),
        .executableTarget(
            name: "keel-fuzz",
            dependencies: [
                "CFuzzer", "KeelCore", "KeelTensor", "KeelModel", "KeelText", "KeelData",
            ],
            path: "Tests/Fuzz/keel-fuzz"),
    ]

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(
        name: name, dependencies: dependencies + ["KeelTestSupport"], swiftSettings: strict)
}

let package = Package(
    name: "keel",
    products: [
        .executable(name: "keel", targets: ["keel"]),
        .executable(name: "keel-worker", targets: ["keel-worker"]),
        .library(name: "KeelPlugin", type: .static, targets: ["KeelPlugin"]),
    ]
        + (swiftPlugins.map { ($0.key, $0.value) } + cPlugins.map { ($0.key, $0.value) }).map {
            .library(name: "keel-\($0.1)", type: .dynamic, targets: [$0.0])
        },
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    ],
    targets: [
        // System libraries.
        .systemLibrary(name: "CJSON", pkgConfig: "json-c", providers: [.apt(["libjson-c-dev"])]),
        .systemLibrary(name: "CFFI", pkgConfig: "libffi", providers: [.apt(["libffi-dev"])]),
        .systemLibrary(name: "CDNNL", providers: [.apt(["libdnnl-dev"])]),
        .systemLibrary(
            name: "CPCRE2", pkgConfig: "libpcre2-8", providers: [.apt(["libpcre2-dev"])]),
        .systemLibrary(name: "CUTF8Proc", providers: [.apt(["libutf8proc-dev"])]),

        // The SDK. Free of unsafe flags, so that other packages can depend on it by version.
        .target(name: "CKeel", path: "SDK/C"),
        .target(
            name: "KeelPlugin", dependencies: ["CKeel"], path: "SDK/Swift/KeelPlugin",
            swiftSettings: strict),

        // The host.
        .target(
            name: "CKernels",
            cSettings: [.unsafeFlags(["-O3", "-fno-math-errno", "-fno-trapping-math"])] + strictC),
        .target(name: "CSystem", cSettings: strictC),
        host("KeelCore", ["CJSON", "CSystem", .product(name: "Logging", package: "swift-log")]),
        host("KeelTensor", ["KeelCore", "CKernels", "CDNNL"]),
        host(
            "KeelModel",
            [
                "KeelCore", "KeelTensor",
                .product(name: "OrderedCollections", package: "swift-collections"),
            ]),
        host("KeelText", ["KeelCore", "CPCRE2", "CUTF8Proc"]),
        host("KeelData", ["KeelCore", "KeelText"]),
        // What the host and keel-worker say to each other.
        .target(name: "CWorker", cSettings: strictC),
        host("KeelBridge", ["KeelCore", "KeelTensor", "CSystem", "CKeel", "CWorker"]),
        host(
            "KeelHost",
            [
                "KeelCore", "KeelTensor", "KeelModel", "KeelText", "KeelData", "KeelBridge",
                .product(name: "OrderedCollections", package: "swift-collections"),
            ]),
        .executableTarget(
            name: "keel",
            dependencies: [
                "KeelCore", "KeelTensor", "KeelModel", "KeelText", "KeelData", "KeelBridge",
                "KeelHost",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict,
            linkerSettings: [
                // DT_RPATH, not RUNPATH: it also serves the plugins loaded with dlopen.
                .unsafeFlags([
                    "-Xlinker", "-rpath", "-Xlinker", "$ORIGIN/../lib/keel", "-Xlinker",
                    "--disable-new-dtags",
                ])
            ]),

        // The process that isolated plugins run in.
        .executableTarget(
            name: "keel-worker", dependencies: ["CKeel", "CWorker", "CFFI"],
            cSettings: plainC + strictC, linkerSettings: plainCLink),

        // What calls of plugins cost; `make bench` runs it.
        .executableTarget(
            name: "keel-bench", dependencies: ["KeelCore", "KeelBridge"], path: "bench/worker",
            exclude: ["bytes.c"],
            swiftSettings: strict),
        .executableTarget(
            name: "keel-bench-tokenizer", dependencies: ["KeelCore", "KeelText"],
            path: "bench/tokenizer", exclude: ["peer.py"], swiftSettings: strict),
        // A small step of each job, for counting its instructions.
        .executableTarget(
            name: "keel-bench-steps", dependencies: ["KeelCore", "KeelTensor", "KeelModel"],
            path: "bench/steps", exclude: ["gate.sh", "instructions.txt"], swiftSettings: strict),

        // Tests.
        .target(
            name: "KeelTestSupport", dependencies: ["KeelCore", "KeelTensor"],
            path: "Tests/KeelTestSupport",
            swiftSettings: strict),
        tests("KeelCoreTests", ["KeelCore"]),
        tests("KeelTensorTests", ["KeelCore", "KeelTensor"]),
        tests("KeelModelTests", ["KeelCore", "KeelTensor", "KeelModel"]),
        tests("KeelTextTests", ["KeelCore", "KeelText"]),
        tests("KeelDataTests", ["KeelCore", "KeelText", "KeelData"]),
        tests("KeelBridgeTests", ["KeelCore", "KeelTensor", "KeelBridge", "CWorker"]),
        tests(
            "KeelHostTests",
            [
                "KeelCore", "KeelTensor", "KeelModel", "KeelText", "KeelData", "KeelBridge",
                "KeelHost",
            ]),
        tests("PluginTests", ["KeelCore", "KeelTensor", "KeelBridge", "KeelData", "KeelHost"]),
        tests("CLITests", ["KeelCore"]),
    ]
        + fuzzTargets
        + swiftPlugins.map {
            .target(
                name: $0.key, dependencies: ["KeelPlugin"], path: "Plugins/\($0.key)",
                swiftSettings: strict,
                linkerSettings: pluginLink)
        }
        + cPlugins.map {
            .target(
                name: $0.key,
                dependencies: patternPlugins.contains($0.key) ? ["CKeel", "CPCRE2"] : ["CKeel"],
                path: "Plugins/\($0.key)",
                publicHeadersPath: ".",
                cSettings: [.unsafeFlags(["-fvisibility=hidden"])] + plainC + strictC,
                linkerSettings: pluginLink + plainCLink
                    + (mathPlugins.contains($0.key) ? [.linkedLibrary("m")] : [])
                    + (patternPlugins.contains($0.key) ? installedLibraries : []))
        }
)
