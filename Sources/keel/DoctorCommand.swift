import ArgumentParser
import KeelCore
import KeelHost

struct DoctorCommand: KeelCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Reports the machine, libraries, plugins and folders that Keel sees.")

    @Flag(help: "Print a JSON object.")
    var json = false

    @OptionGroup var plugins: PluginOptions
    @OptionGroup var global: GlobalOptions

    func run() throws {
        let report = Doctor.report(catalog: plugins.catalog)
        print(json ? report.json.text() : report.text)
        try report.code.finish()
    }
}
