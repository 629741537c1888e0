enum Matmul { static func enterThread() {} }
final class DeviceCache: @unchecked Sendable {}
