/*
 * The part of pkcs11js that the platform uses. It is declared here because the package is
 * optional: where it was not built, the platform builds and runs without it, and says so
 * when an HSM is configured.
 */
declare module 'pkcs11js' {
  export type Handle = Buffer;
  type Mechanism = { mechanism: number };
  type Template = { type: number; value: number | boolean | string | Buffer }[];

  interface TokenInfo {
    label: string;
    manufacturerID: string;
    model: string;
    serialNumber: string;
    flags: number;
  }

  export interface PKCS11 {
    load(path: string): void;
    C_Initialize(options: { flags: number }): void;
    C_Finalize(): void;
    C_GetSlotList(tokenPresent: boolean): Handle[];
    C_GetTokenInfo(slot: Handle): TokenInfo;
    C_GetMechanismList(slot: Handle): number[];
    C_OpenSession(slot: Handle, flags: number): Handle;
    C_Login(session: Handle, userType: number, pin: string): void;
    C_SignInit(session: Handle, mechanism: Mechanism, key: Handle): void;
    C_SignAsync(session: Handle, data: Buffer, output: Buffer): Promise<Buffer>;
    C_GenerateKey(session: Handle, mechanism: Mechanism, template: Template): Handle;
    C_DestroyObject(session: Handle, object: Handle): void;
    C_FindObjectsInit(session: Handle, template: Template): void;
    C_FindObjects(session: Handle, limit: number): Handle[];
    C_FindObjectsFinal(session: Handle): void;
  }

  type Constant =
    | 'CKA_CLASS'
    | 'CKA_EXTRACTABLE'
    | 'CKA_KEY_TYPE'
    | 'CKA_LABEL'
    | 'CKA_PRIVATE'
    | 'CKA_SENSITIVE'
    | 'CKA_SIGN'
    | 'CKA_TOKEN'
    | 'CKA_VALUE_LEN'
    | 'CKF_OS_LOCKING_OK'
    | 'CKF_RW_SESSION'
    | 'CKF_SERIAL_SESSION'
    | 'CKF_USER_PIN_LOCKED'
    | 'CKK_GENERIC_SECRET'
    | 'CKM_GENERIC_SECRET_KEY_GEN'
    | 'CKM_SHA256_HMAC'
    | 'CKO_SECRET_KEY'
    | 'CKR_CRYPTOKI_ALREADY_INITIALIZED'
    | 'CKR_CRYPTOKI_NOT_INITIALIZED'
    | 'CKR_DEVICE_ERROR'
    | 'CKR_DEVICE_MEMORY'
    | 'CKR_DEVICE_REMOVED'
    | 'CKR_HOST_MEMORY'
    | 'CKR_KEY_HANDLE_INVALID'
    | 'CKR_OBJECT_HANDLE_INVALID'
    | 'CKR_PIN_EXPIRED'
    | 'CKR_PIN_INCORRECT'
    | 'CKR_PIN_INVALID'
    | 'CKR_PIN_LEN_RANGE'
    | 'CKR_PIN_LOCKED'
    | 'CKR_SESSION_CLOSED'
    | 'CKR_SESSION_HANDLE_INVALID'
    | 'CKR_SLOT_ID_INVALID'
    | 'CKR_TOKEN_NOT_PRESENT'
    | 'CKR_TOKEN_NOT_RECOGNIZED'
    | 'CKR_USER_ALREADY_LOGGED_IN'
    | 'CKR_USER_NOT_LOGGED_IN'
    | 'CKR_USER_PIN_NOT_INITIALIZED'
    | 'CKU_USER';

  const pkcs11js: { PKCS11: new () => PKCS11 } & Record<Constant, number>;
  export default pkcs11js;
}
