import Foundation
import KeelCore
import KeelTestSupport

/// One run of the built `keel`: what it wrote and how it ended.
struct Outcome {
    var code: Int32
    var output: String
    var errors: String
}

/// Runs the executable beside the tests.
///
/// - Parameters:
///   - folder: the current folder of the run; its path is written `$DIR` in what comes back.
///   - environment: added to that of the tests.
func keel(
    _ arguments: [String], in folder: String, input: String = "",
    environment: [String: String] = [:]
) throws -> Outcome {
    let process = try keelProcess(
        arguments, in: folder, input: input, environment: environment, streams: ".std")
    try process.run()
    process.waitUntilExit()
    func text(_ stream: String) throws -> String {
        try Files.readText(Files.join(folder, ".std.\(stream)")).replacingOccurrences(
            of: folder, with: "$DIR")
    }
    let code =
        process.terminationReason == .exit ? process.terminationStatus : -process.terminationStatus
    return Outcome(code: code, output: try text("out"), errors: try text("err"))
}

/// The executable beside the tests, ready to run.
///
/// - Parameters:
///   - executable: another program that ends up running it, such as a shell.
///   - streams: standard input, output and error are `<streams>.in`, `.out` and `.err` in the folder.
func keelProcess(
    _ arguments: [String], in folder: String, input: String = "",
    environment: [String: String] = [:], executable: String? = nil, streams: String
) throws -> Process {
    let caches = Files.join(folder, ".cache")
    if executable == nil, environment["XDG_CACHE_HOME"] == nil { try rememberPlugins(in: caches) }
    return try bareProcess(
        arguments, in: folder, input: input,
        environment: environment.merging(["XDG_CACHE_HOME": caches]) { own, _ in own },
        executable: executable, streams: streams)
}

/// What lies in the plugins beside the tests, as one run of `keel` remembers it.
///
/// Looking at all of them again would take most of the time of a short run.
private let plugins: Result<[(name: String, bytes: [UInt8])], any Error> = Result {
    let folder = try TemporaryFolder()
    let process = try bareProcess(
        ["plugin", "list"], in: folder.path, environment: ["XDG_CACHE_HOME": folder.path],
        streams: ".std")
    try process.run()
    process.waitUntilExit()
    return try Files.list(folder.path("keel")).map {
        ($0, try Files.read(folder.path("keel/\($0)")))
    }
}

/// Gives a run what an earlier one would have left in its cache folder.
private func rememberPlugins(in caches: String) throws {
    let folder = Files.join(caches, "keel")
    guard !Files.exists(folder) else { return }
    try Files.makeDirectory(folder)
    for file in try plugins.get() {
        try AtomicWrite.file(Files.join(folder, file.name), file.bytes)
    }
}

private func bareProcess(
    _ arguments: [String], in folder: String, input: String = "", environment: [String: String],
    executable: String? = nil, streams: String
) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: executable ?? keelExecutable)
    process.arguments = arguments
    process.currentDirectoryURL = URL(fileURLWithPath: folder)
    var variables = ProcessInfo.processInfo.environment
    for name in ["NO_COLOR", "CLICOLOR_FORCE", "KEEL_PLUGIN_PATH"] { variables[name] = nil }
    variables["HOME"] = folder
    variables["XDG_DATA_HOME"] = Files.join(folder, ".data")
    for (name, value) in environment { variables[name] = value }
    process.environment = variables
    // Files, not pipes: nothing to drain while it runs.
    let names = ["in", "out", "err"].map { Files.join(folder, "\(streams).\($0)") }
    try AtomicWrite.file(names[0], input)
    for name in names[1...] { try AtomicWrite.file(name, "") }
    process.standardInput = FileHandle(forReadingAtPath: names[0])
    process.standardOutput = FileHandle(forWritingAtPath: names[1])
    process.standardError = FileHandle(forWritingAtPath: names[2])
    return process
}

/// The built `keel`, beside the tests.
var keelExecutable: String { Files.join(Files.parent(Files.executable), "keel") }
