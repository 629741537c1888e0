import ArgumentParser
import KeelBridge
import KeelCore

struct VersionCommand: KeelCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Prints what this build of Keel is.")

    @Flag(help: "Print a JSON object.")
    var json = false

    @OptionGroup var global: GlobalOptions

    func run() throws {
        let parts: JSONObject = [
            "version": .string(Build.version), "machine": .string(Build.machine),
            "swift": .string(Build.swiftVersion), "build": Build.isRelease ? "release" : "debug",
            "contract": .string("1.\(HostTable.minor)"),
        ]
        if json {
            print(JSON.object(parts).text())
        } else {
            let rest = parts.dropFirst().map { "\($0.key) \($0.value.string ?? "")" }
            print("keel \(Build.version) (\(rest.joined(separator: ", ")))")
        }
    }
}
