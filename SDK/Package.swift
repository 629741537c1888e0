// swift-tools-version: 6.0
import PackageDescription

// The SDK as a package of its own, for plugins that are packages: docs/plugins.md.
let package = Package(
    name: "sdk",
    products: [.library(name: "KeelPlugin", type: .static, targets: ["KeelPlugin"])],
    targets: [
        .target(name: "CKeel", path: "C"),
        .target(name: "KeelPlugin", dependencies: ["CKeel"], path: "Swift/KeelPlugin"),
    ])
