import Foundation
import KeelCore

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
    let process = Process()
    process.executableURL = URL(fileURLWithPath: executable ?? keelExecutable)
    process.arguments = arguments
    process.currentDirectoryURL = URL(fileURLWithPath: folder)
    var variables = ProcessInfo.processInfo.environment
    for name in ["NO_COLOR", "CLICOLOR_FORCE", "KEEL_PLUGIN_PATH"] { variables[name] = nil }
    variables["HOME"] = folder
    variables["XDG_CACHE_HOME"] = Files.join(folder, ".cache")
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
